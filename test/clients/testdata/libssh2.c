#include <arpa/inet.h>
#include <libssh2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct libssh2_agent_publickey *key, *previous = NULL;
	int fd;

	if (argc < 4 || libssh2_init(0)) return 2;
	to.sin_port = htons(atoi(argv[2]));
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	if ((fd = socket(AF_INET, SOCK_STREAM, 0)) < 0 || connect(fd, (void *)&to, sizeof to)) return 2;
	LIBSSH2_SESSION *session = libssh2_session_init();
	if (libssh2_session_handshake(session, fd)) return 3;
	LIBSSH2_AGENT *agent = libssh2_agent_init(session);
	if (libssh2_agent_connect(agent) || libssh2_agent_list_identities(agent)) return 4;
	while (libssh2_agent_get_identity(agent, &key, previous) == 0) {
		if (libssh2_agent_userauth(agent, argv[3], key) == 0) {
			LIBSSH2_CHANNEL *channel = libssh2_channel_open_session(session);
			return !channel || libssh2_channel_exec(channel, "true") ? 5 : 0;
		}
		previous = key;
	}
	return 1;
}
