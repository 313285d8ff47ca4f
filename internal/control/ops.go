package control

import "os"

func (*VersionRequest) op() Op  { return OpVersion }
func (*StopRequest) op() Op     { return OpStop }
func (*LockRequest) op() Op     { return OpLock }
func (*StatusRequest) op() Op   { return OpStatus }
func (*ListRequest) op() Op     { return OpList }
func (*ShowRequest) op() Op     { return OpShow }
func (*InitRequest) op() Op     { return OpInit }
func (*UnlockRequest) op() Op   { return OpUnlock }
func (*AddRequest) op() Op      { return OpAdd }
func (*GenerateRequest) op() Op { return OpGenerate }
func (*RemoveRequest) op() Op   { return OpRemove }
func (*EditRequest) op() Op     { return OpEdit }
func (*ExportRequest) op() Op   { return OpExport }
func (*WhyRequest) op() Op      { return OpWhy }
func (*RefreshRequest) op() Op  { return OpRefresh }

func (*VersionRequest) reply() *VersionReply   { return new(VersionReply) }
func (*StopRequest) reply() *StopReply         { return new(StopReply) }
func (*LockRequest) reply() *LockReply         { return new(LockReply) }
func (*StatusRequest) reply() *StatusReply     { return new(StatusReply) }
func (*ListRequest) reply() *ListReply         { return new(ListReply) }
func (*ShowRequest) reply() *ShowReply         { return new(ShowReply) }
func (*InitRequest) reply() *InitReply         { return new(InitReply) }
func (*UnlockRequest) reply() *UnlockReply     { return new(UnlockReply) }
func (*AddRequest) reply() *AddReply           { return new(AddReply) }
func (*GenerateRequest) reply() *GenerateReply { return new(GenerateReply) }
func (*RemoveRequest) reply() *RemoveReply     { return new(RemoveReply) }
func (*EditRequest) reply() *EditReply         { return new(EditReply) }
func (*ExportRequest) reply() *ExportReply     { return new(ExportReply) }
func (*WhyRequest) reply() *WhyReply           { return new(WhyReply) }
func (*RefreshRequest) reply() *RefreshReply   { return new(RefreshReply) }

func (*VersionRequest) files() []fileSlot  { return nil }
func (*StopRequest) files() []fileSlot     { return nil }
func (*LockRequest) files() []fileSlot     { return nil }
func (*StatusRequest) files() []fileSlot   { return nil }
func (*ListRequest) files() []fileSlot     { return nil }
func (*ShowRequest) files() []fileSlot     { return nil }
func (*GenerateRequest) files() []fileSlot { return nil }
func (*RemoveRequest) files() []fileSlot   { return nil }
func (*WhyRequest) files() []fileSlot      { return nil }
func (*RefreshRequest) files() []fileSlot  { return nil }

func (r *InitRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

func (r *UnlockRequest) files() []fileSlot {
	return []fileSlot{required("passphrase", &r.Passphrase)}
}

func (r *AddRequest) files() []fileSlot {
	return []fileSlot{
		required("key_file", &r.KeyFile),
		optional("key_passphrase", &r.KeyPassphrase),
		optional("certificate", &r.Certificate),
	}
}

func (r *EditRequest) files() []fileSlot {
	return []fileSlot{optional("certificate", &r.Certificate)}
}

func (r *ExportRequest) files() []fileSlot {
	return []fileSlot{
		required("passphrase", &r.Passphrase),
		optional("new_passphrase", &r.NewPassphrase),
		required("output", &r.Output),
	}
}

func required(name string, file **os.File) fileSlot { return fileSlot{name, file, true} }
func optional(name string, file **os.File) fileSlot { return fileSlot{name, file, false} }
