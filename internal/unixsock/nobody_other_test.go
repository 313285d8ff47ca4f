//go:build !linux

package unixsock_test

import "errors"

func becomeNobody() error { return errors.ErrUnsupported }
