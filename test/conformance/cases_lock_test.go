package conformance

import (
	"strings"

	"vigil/internal/wire"
)

// lockCases are ssh-add -x and -X.
var lockCases = []testCase{
	{name: "lock and unlock", do: func(r *run) {
		c, other, k := r.dial(), r.dial(), r.key("ed25519")
		c.must(add(k))
		c.do("unlock what is not locked", unlock("secret"))
		c.do("lock with nothing", lock(""))
		c.do("list", list())
		c.do("lock", lock("secret"))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
		c.do("add", add(r.key("p256")))
		c.do("add constrained", add(r.key("p256"), lifetime(60)))
		c.do("remove", remove(k))
		c.do("remove all", []byte{agentcRemoveAll})
		c.do("remove all RSA1 keys", []byte{agentcRemoveAllRSA})
		c.do("add a token", wire.AppendString(wire.AppendString([]byte{agentcAddToken}, "/x"), "1"))
		c.do("query", extension("query"))
		c.do("unknown extension", extension("unknown@example.com"))
		c.do("unknown message", []byte{200})
		c.do("lock again", lock("secret"))
		c.do("lock again with another", lock("other"))
		other.do("list on another connection", list())
		other.do("unlock with nothing", unlock(""))
		other.do("unlock with the wrong one", unlock("wrong"))
		other.do("unlock with the beginning", unlock("secre"))
		other.do("unlock", unlock("secret"))
		c.do("list", list())
		c.doSign("sign", k, []byte("data"), 0)
		c.do("unlock again", unlock("secret"))
		c.do("lock with another", lock("other"))
		c.do("unlock with the first", unlock("secret"))
		c.do("unlock with the other", unlock("other"))
	}},
	{name: "lock by odd passphrases", do: func(r *run) {
		c := r.dial()
		for _, p := range []struct{ what, passphrase string }{
			{"UTF-8", "pässwörd"}, {"white space", "  "}, {"1,024 bytes", strings.Repeat("p", 1024)},
		} {
			c.do("lock with "+p.what, lock(p.passphrase))
			c.do("unlock with "+p.what, unlock(p.passphrase))
		}
	}},
}
