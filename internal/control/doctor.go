package control

import "vigil/internal/checkup"

// DoctorRequest asks for every check that needs the daemon. It makes a
// DescribeKey and a Decrypt for each vault whose master key is in a KMS.
type DoctorRequest struct {
	asks[DoctorReply]
	Vault string `json:"vault,omitempty"` // empty: all
}

func (*DoctorRequest) op() Op { return "doctor" }

// DoctorReply holds the checks, in an order for reading.
type DoctorReply struct {
	Checks []checkup.Check `json:"checks"`
}
