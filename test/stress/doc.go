// Package stress asks much of vigild at once: many clients, connections that do
// nothing, file descriptors that run out, and clients that never finish a
// message. Each time the others must not notice.
package stress
