// Package agentproto turns SSH agent messages (RFC 9987, and the extensions of
// OpenSSH's PROTOCOL.agent) into structs and back. It does no I/O, keeps no
// state and makes no decisions.
//
// Decoding never copies: the byte slices of a decoded request alias the message
// and are valid as long as it is. Decoders allocate nothing for a length whose
// bytes are missing, so a message costs at most a small multiple of its own size.
// They refuse trailing bytes: each meaning has one encoding.
//
// The bodies of MsgAddIdentity, MsgAddIDConstrained, MsgLock, MsgUnlock and the
// token messages carry secrets. A process that must not hold secrets passes those
// bodies on undecoded; see Secret.
package agentproto

// Message numbers of requests (RFC 9987 section 6.1, and OpenSSH's authfd.h for
// the ones of SSH protocol 1).
const (
	MsgListRSA             = 1  // list the keys of SSH protocol 1
	MsgRemoveAllRSA        = 9  // removal of all SSH 1 keys; ssh-add -D still sends it
	MsgRequestIdentities   = 11 // list the public keys
	MsgSignRequest         = 13 // make a signature
	MsgAddIdentity         = 17 // add a private key
	MsgRemoveIdentity      = 18 // remove one key
	MsgRemoveAllIdentities = 19 // remove all keys
	MsgAddToken            = 20 // add the keys of a PKCS#11 token
	MsgRemoveToken         = 21 // remove the keys of a token
	MsgLock                = 22 // lock the agent with a passphrase
	MsgUnlock              = 23 // undo MsgLock
	MsgAddIDConstrained    = 25 // MsgAddIdentity with constraints
	MsgAddTokenConstrained = 26 // MsgAddToken with constraints
	MsgExtension           = 27 // a vendor's extension, by name
)

// Message numbers of replies (RFC 9987 section 6.1).
const (
	MsgFailure           = 5  // the request was refused or not understood
	MsgSuccess           = 6  // done
	MsgIdentitiesAnswer  = 12 // the list of public keys
	MsgSignResponse      = 14 // a signature
	MsgExtensionFailure  = 28 // a supported extension failed
	MsgExtensionResponse = 29 // an extension's answer, with its name
)

// Signature flags (RFC 9987 section 6.3). They matter to RSA keys only.
const (
	FlagRSASHA256 = 2
	FlagRSASHA512 = 4

	// KnownFlags are the flags a request may carry; the RFC requires that a
	// request with any other flag is refused.
	KnownFlags = FlagRSASHA256 | FlagRSASHA512

	// FlagRSASHA1 isn't one of the protocol, where RSA without a flag means SHA-1
	// ("ssh-rsa"). It tells a keeper that the key's policy allows that.
	FlagRSASHA1 = 1 << 31
)

// Key constraint numbers (RFC 9987 section 6.2).
const (
	ConstrainLifetime  = 1   // uint32 seconds
	ConstrainConfirm   = 2   // ask before each use
	ConstrainExtension = 255 // string name, then what the name defines
)

// Extension names (RFC 9987 section 6.8, PROTOCOL.agent).
const (
	ExtQuery        = "query"                                // lists the supported extensions
	ExtSessionBind  = "session-bind@openssh.com"             // binds a connection to an SSH session
	ExtRestrictDest = "restrict-destination-v00@openssh.com" // a constraint: the destinations of a key
	ExtSKProvider   = "sk-provider@openssh.com"              // a constraint: what talks to the security key
)

// Limits. A message over a limit is refused as a whole.
const (
	// MaxMessage is the largest request or reply in bytes, counted from its type
	// byte (OpenSSH: AGENT_MAX_LEN, and MAX_AGENT_REPLY_LEN in its clients).
	MaxMessage = 256 << 10

	// HeaderLen is the length of the length field and the type byte.
	HeaderLen = 5

	// MaxIdentities is the most keys OpenSSH's clients accept in one listing
	// (MAX_AGENT_IDENTITIES).
	MaxIdentities = 2048

	// MaxComment is the longest comment of a key in bytes. OpenSSH has no limit
	// but the message's; here one key's comment can't crowd the others out of a
	// listing.
	MaxComment = 4096

	// MaxDestinations is the most destinations on one key (AGENT_MAX_DEST_CONSTRAINTS).
	MaxDestinations = 1024

	// MaxProvider is the longest path of a provider of security keys in bytes (PATH_MAX).
	MaxProvider = 4096

	// MaxUserPattern is the longest user pattern of a destination in bytes
	// (AGENT_USER_CONSTRAINT_MAX_LEN).
	MaxUserPattern = 256

	// MaxSessionID is the longest session identifier in bytes (AGENT_MAX_SID_LEN).
	MaxSessionID = 128

	// MaxBinds is the most sessions one connection can be bound to
	// (AGENT_MAX_SESSION_IDS).
	MaxBinds = 16
)

// Secret reports whether a request of this type may carry a private key, a
// passphrase or a PIN. It returns true for every number not known to be
// harmless, including SSH protocol 1's key messages.
func Secret(msgType byte) bool {
	switch msgType {
	case MsgListRSA, MsgRemoveAllRSA, MsgRequestIdentities, MsgSignRequest, MsgRemoveIdentity, MsgRemoveAllIdentities, MsgExtension:
		return false
	}
	return true
}
