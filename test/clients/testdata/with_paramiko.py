import sys
import paramiko

host, port, user = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(host, port, user, allow_agent=True, look_for_keys=False, timeout=20)
client.exec_command("true")[1].read()
client.close()
