#include <libssh/libssh.h>
#include <stdlib.h>

int main(int argc, char **argv) {
	int port, off = 0;
	ssh_session session = ssh_new();

	if (argc < 4) return 2;
	port = atoi(argv[2]);
	ssh_options_set(session, SSH_OPTIONS_HOST, argv[1]);
	ssh_options_set(session, SSH_OPTIONS_PORT, &port);
	ssh_options_set(session, SSH_OPTIONS_USER, argv[3]);
	ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &off);
	if (ssh_connect(session) != SSH_OK) return 3;
	if (ssh_userauth_agent(session, NULL) != SSH_AUTH_SUCCESS) return 1;
	ssh_channel channel = ssh_channel_new(session);
	return ssh_channel_open_session(channel) != SSH_OK || ssh_channel_request_exec(channel, "true") != SSH_OK;
}
