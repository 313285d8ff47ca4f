// Package conformance holds one client suite for SSH agents, written against
// the bytes of RFC 9987 and OpenSSH's PROTOCOL.agent. It runs against OpenSSH's
// ssh-agent and against vigild, and both have to give the same answers.
//
// A case is a list of messages on connections to a fresh agent. What the agent
// answers is written down as a line of plain words for each message. The answers
// of OpenSSH's agents lie in testdata/answers, a file for each version, so that
// the newest is held against without being installed; tools/newest-openssh.sh
// fetches it from Debian to record it again.
//
// Where Vigil deliberately answers differently, stricter_test.go says so and
// why, and docs/agent-protocol.md tells the user.
package conformance
