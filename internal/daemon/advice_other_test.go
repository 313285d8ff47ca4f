//go:build !linux

package daemon

const oldKernel = "TEST_OLD_KERNEL"

func forgetLandlock() {}
