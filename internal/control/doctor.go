package control

import "vigil/internal/checkup"

// DoctorRequest requests all checks that need the daemon. It makes a DescribeKey and
// a Decrypt call for each vault whose master key is in a KMS.
type DoctorRequest struct {
	asks[DoctorReply]
	Vault string `json:"vault,omitempty"` // empty: all
}

func (*DoctorRequest) op() Op { return "doctor" }

// DoctorReply has the checks in the order to show them.
type DoctorReply struct {
	Checks []checkup.Check `json:"checks"`
}
