package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"vigil/internal/checkup"
	"vigil/internal/control"
)

// maxAuthTries is how many keys an sshd refuses before it ends a login, unless configured
// otherwise (OpenSSH: DEFAULT_AUTH_FAIL_MAX).
const maxAuthTries = 6

// hostOffers is what `list --host --json` prints.
type hostOffers struct {
	Host         string       `json:"host"` // as ssh resolves it, with user and port
	Agent        string       `json:"agent,omitempty"`
	MaxAuthTries int          `json:"max_auth_tries"`
	Offers       []offeredKey `json:"offers"`
	Withheld     []withheld   `json:"withheld"`
}

// withheld is a key that ssh doesn't offer to a host, and why.
type withheld struct {
	Key    control.Key `json:"key"`
	Reason string      `json:"reason"`
}

// listHost shows what ssh would offer to a host. file is ssh's configuration; "": the usual.
func (a *app) listHost(ctx context.Context, host, file string) error {
	c, err := a.readSSHConfig(ctx, host, file)
	if err != nil {
		return err
	}
	r := &hostOffers{
		Host:  c.value("user") + "@" + c.value("hostname") + " port " + c.value("port"),
		Agent: c.agentSocket(a.env), MaxAuthTries: maxAuthTries, Offers: []offeredKey{}, Withheld: []withheld{},
	}
	if no := c.value("pubkeyauthentication"); no == "false" || no == "no" {
		a.say("ssh offers no key to %s: PubkeyAuthentication is off there.", r.Host)
		return a.print(r, func(io.Writer) {})
	}
	if err := a.offers(ctx, c, r); err != nil {
		return err
	}
	for i := range r.Offers {
		r.Offers[i].CutOff = i >= maxAuthTries
	}
	if err := a.print(r, func(w io.Writer) { a.printOffers(w, r) }); err != nil {
		return err
	}
	if len(r.Offers) > maxAuthTries {
		a.say("Name the key for this host in ~/.ssh/config, and ssh offers no other:\n" +
			"  IdentityFile ~/.ssh/KEY.pub     from: vigilctl show KEY --public\n" +
			"  IdentitiesOnly yes")
	}
	return nil
}

// offers fills in what is offered and what isn't.
func (a *app) offers(ctx context.Context, c sshConfig, r *hostOffers) error {
	ours, agent, err := a.listed(ctx, c, r)
	if err != nil {
		return err
	}
	files, certificates := a.filesOf(ctx, c)
	offers, left := order(agent, files, certificates, c.value("identitiesonly") == "yes")
	for _, k := range left {
		r.Withheld = append(r.Withheld, withheld{k.Key, "IdentitiesOnly is set, and no IdentityFile is its public key"})
	}
	for _, k := range offers {
		if k.keyType != "" && !c.accepts(&k.Key, k.keyType) {
			r.Withheld = append(r.Withheld, withheld{k.Key, "its type or size isn't among this host's PubkeyAcceptedAlgorithms"})
			continue
		}
		r.Offers = append(r.Offers, k)
	}
	for _, k := range ours {
		if k.State != control.KeyShadowed && !slices.ContainsFunc(agent, func(o offeredKey) bool { return o.Key.Fingerprint == k.Fingerprint }) &&
			!slices.ContainsFunc(r.Withheld, func(w withheld) bool { return w.Key.Fingerprint == k.Fingerprint }) {
			r.Withheld = append(r.Withheld, withheld{k, "the agent doesn't list it, or this release of ssh doesn't know its type"})
		}
	}
	return nil
}

// listed returns this agent's keys, and those that the agent which ssh asks lists for the
// host, with what is known of them here.
func (a *app) listed(ctx context.Context, c sshConfig, r *hostOffers) (ours []control.Key, agent []offeredKey, err error) {
	if r.Agent == "" {
		a.say("ssh asks no agent for this host: %s", noAgent(c))
		return nil, nil, nil
	}
	if r.Agent != a.paths.AgentSocket() {
		a.say("ssh asks another agent for this host: %s", r.Agent)
	} else {
		reply, err := call(ctx, a, &control.ListRequest{})
		if err != nil {
			return nil, nil, err
		}
		ours = reply.Keys
	}
	all, err := a.agentKeys(ctx, r.Agent)
	if err != nil {
		return nil, nil, control.Errorf(control.CodeFailed, "Does SSH_AUTH_SOCK, or IdentityAgent in ssh's configuration, name an agent that runs?", "%v", err)
	}
	hosts := a.hostKeys(c)
	for _, k := range all {
		known := slices.IndexFunc(ours, func(o control.Key) bool { return o.Fingerprint == k.Key.Fingerprint })
		if known >= 0 {
			k.Key, k.known = ours[known], true
			if !isCertificate(k.keyType) {
				k.Key.Certificate = ""
			}
			if !visibleAt(k.Key.Destinations, c, hosts) {
				r.Withheld = append(r.Withheld, withheld{k.Key, "it is restricted to " + strings.Join(k.Key.Destinations, ", ")})
				continue
			}
		}
		agent = append(agent, k)
	}
	return ours, agent, nil
}

func noAgent(c sshConfig) string {
	if c.value("identityagent") == "none" {
		return "IdentityAgent is none"
	}
	return "SSH_AUTH_SOCK is not set"
}

// visibleAt reports whether the agent lists a key limited to destinations once ssh has
// told it the host: by the host's keys in known_hosts, which is what the agent compares,
// or else by name. Users don't count yet. (policy.Visible.)
func visibleAt(destinations []string, c sshConfig, hosts []knownHost) bool {
	if len(destinations) == 0 {
		return true
	}
	here := c.knownAs()
	for _, d := range destinations {
		if strings.Contains(d, ">") {
			continue // for a host beyond this one
		}
		name := strings.ToLower(d[strings.LastIndexByte(d, '@')+1:])
		if name == here || name == strings.ToLower(c.value("hostname")) {
			return true
		}
		for _, h := range hosts {
			if h.matches(here) && slices.ContainsFunc(hosts, func(other knownHost) bool {
				return other.matches(name) && string(other.key.Blob) == string(h.key.Blob)
			}) {
				return true
			}
		}
	}
	return false
}

func (a *app) printOffers(w io.Writer, r *hostOffers) {
	if len(r.Offers) == 0 {
		printf(w, "ssh has no key to offer to %s\n", r.Host)
	} else {
		printf(w, "ssh offers to %s, in this order:\n", r.Host)
	}
	for i, o := range r.Offers {
		if i == maxAuthTries {
			printf(w, "    -- a server with the default MaxAuthTries, %d, has ended the login --\n", maxAuthTries)
		}
		printf(w, "%3d  %s\n", i+1, a.offerLine(&o))
	}
	if len(r.Withheld) > 0 {
		printf(w, "%s not offered:\n", checkup.Count(len(r.Withheld), "key"))
	}
	for _, k := range r.Withheld {
		printf(w, "     %s\n         %s\n", a.keyLine(k.Key), k.Reason)
	}
}

// offerLine returns an offer as ssh-add -l shows a key, with where it comes from.
func (a *app) offerLine(o *offeredKey) string {
	from := ""
	if o.File != "" {
		from = "  [" + o.File + "]"
	}
	switch {
	case o.known:
		return a.keyLine(o.Key) + from
	case o.Key.Fingerprint == "":
		return "a private key, whose public half isn't known before its passphrase is" + from
	case o.Agent:
		from = "  [agent]" + from
	}
	return plainKeyLine(o.Key) + from
}
