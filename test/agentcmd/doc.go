// Package agentcmd tests what vigild does when it is called as ssh-agent, as a
// user meets it: the command line, the lines for the shell, signals, the trailing
// command. The same tests run against OpenSSH's ssh-agent, the system's and, when
// NEWEST_OPENSSH names what tools/newest-openssh.sh unpacked, the newest, so that
// they ask for nothing that ssh-agent doesn't do. Where Vigil differs on purpose,
// the test says so, and docs/ssh-agent.md why.
package agentcmd
