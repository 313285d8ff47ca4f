package doctor

import (
	"strings"

	"vigil/internal/checkup"
	"vigil/internal/launchd"
	"vigil/internal/systemd"

	"vigil/internal/paths"
)

// Service checks Vigil as a service of systemd's user manager, whose SSH_AUTH_SOCK should
// lead to socket. It returns nothing where the service is off.
func Service(s *systemd.State, socket string) []checkup.Check {
	const what = "service"
	var list []checkup.Check
	switch {
	case !s.Enabled():
		return nil
	case !s.Ours[0].Active || !s.Ours[1].Active:
		list = append(list, checkup.Failure(what, "systemctl --user restart "+systemd.AgentSocket+" "+systemd.ControlSocket, "it is on, but its sockets aren't there"))
	case s.Forwarded:
		list = append(list, checkup.Fine(what, "on; %s of services is a forwarded agent", paths.SocketVariable))
	case s.Environment != socket:
		list = append(list, checkup.Warning(what, "`vigilctl service enable` sets it again.", "%s of services and graphical sessions doesn't lead to Vigil: %q", paths.SocketVariable, s.Environment))
	default:
		list = append(list, checkup.Fine(what, "on; %s of services and graphical sessions leads to Vigil", paths.SocketVariable))
	}
	if s.NewLogin != socket {
		list = append(list, checkup.Warning(what, s.NextLogin+".", "%s of new logins doesn't lead to Vigil: %q", paths.SocketVariable, s.NewLogin))
	}
	if names := s.Displaced(); len(names) > 0 {
		list = append(list, checkup.Warning(what, "`vigilctl service enable` turns them off.", "logins also start other agents: %s", strings.Join(names, ", ")))
	}
	return list
}

// LaunchAgent checks Vigil as an agent of macOS's launchd, whose SSH_AUTH_SOCK should lead
// to socket. It returns nothing where the agent is off.
func LaunchAgent(s *launchd.State, socket string) []checkup.Check {
	const what = "service"
	switch {
	case !s.Loaded:
		return nil
	case !s.Current:
		return []checkup.Check{checkup.Warning(what, "`vigilctl service enable` writes it anew.", "it is on, but its file isn't this build's")}
	case s.Environment != socket:
		return []checkup.Check{checkup.Warning(what, "`vigilctl service restart` sets it again.", "%s of programs that launchd starts doesn't lead to Vigil: %q", paths.SocketVariable, s.Environment)}
	}
	return []checkup.Check{checkup.Fine(what, "on; %s of programs that launchd starts leads to Vigil", paths.SocketVariable)}
}
