import asyncio
import os
import sys

import asyncssh

host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def main():
    async with asyncssh.connect(host, port, username=user, known_hosts=None, client_keys=(),
                                agent_path=os.environ["SSH_AUTH_SOCK"], config=None) as conn:
        await conn.run("true", check=True)


asyncio.run(main())
