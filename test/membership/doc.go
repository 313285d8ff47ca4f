// Package membership tests who may open a vault, over time: with real daemons in
// homes of their own that share a vault, identities are admitted and removed,
// passphrases, KEKs, master keys and backends are changed, and interrupted.
package membership
