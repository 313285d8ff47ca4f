package control

import "vigil/internal/checkup"

// OpDoctor asks the daemon to look at itself, its vaults, and what is behind a
// network.
const OpDoctor Op = "doctor"

// DoctorRequest asks for every check that needs the daemon. It makes a
// DescribeKey and a Decrypt for each vault whose master key is in a KMS.
type DoctorRequest struct {
	Vault string `json:"vault,omitempty"` // empty: all
}

// DoctorReply holds the checks, in an order for reading.
type DoctorReply struct {
	Checks []checkup.Check `json:"checks"`
}

func (*DoctorRequest) op() Op              { return OpDoctor }
func (*DoctorRequest) reply() *DoctorReply { return new(DoctorReply) }
func (*DoctorRequest) files() []fileSlot   { return nil }
