package server

import (
	"vigil/internal/id"
	"vigil/internal/keeper"
	"vigil/internal/ring"
	"vigil/internal/vaultfile"
)

// makeDeks applies an update to the loaded manifest and authenticates the result.
func (s *server) makeDeks(body, out []byte) ([]byte, error) {
	q, err := keeper.ReadDeksRequest(body)
	if err != nil {
		return out, err
	}
	var reply keeper.DeksReply
	err = s.withVault(func(v *vault) (err error) {
		if err := v.mayRemove(q.Update); err != nil {
			return err
		}
		reply.Object, reply.Deleted, err = v.ring.Apply(q.Update, q.Now)
		return err
	})
	return reply.Append(out), err
}

// rotation makes the next object of a rotation; see package ring for the steps.
func (s *server) rotation(body, out []byte) ([]byte, error) {
	step, err := keeper.ReadRotationStep(body)
	if err != nil {
		return out, err
	}
	err = s.withVault(func(v *vault) error {
		var object []byte
		var err error
		switch step {
		case keeper.StepNewKEK:
			object, err = v.ring.NewKEK()
		case keeper.StepRewrap:
			object, err = v.ring.Rewrap()
		case keeper.StepRetire:
			object, err = v.ring.Retire()
		default:
			err = keeper.ErrBadRequest
		}
		out = append(out, object...)
		return err
	})
	return out, err
}

// collect drops DEKs superseded more than 30 days ago whose successor is in this
// device's own file. The reply is empty if there are none.
func (s *server) collect(body, out []byte) ([]byte, error) {
	now, err := keeper.ReadNumber(body)
	if err != nil {
		return out, err
	}
	err = s.withVault(func(v *vault) error {
		file, err := s.currentFile()
		if err != nil {
			return err
		}
		if v.ring.Deks() == nil {
			return ring.ErrEmpty
		}
		object, err := v.ring.Collect(v.holds(file), now)
		out = append(out, object...)
		return err
	})
	return out, err
}

// holds returns a function that reports whether file has a revision undamaged: a
// damaged or forged line must not cost the DEK that it replaces.
func (v *vault) holds(file *vaultfile.File) func(id.Item, id.Revision) bool {
	lines := make(map[id.Revision]*vaultfile.Line, len(file.Lines()))
	for i := range file.Lines() {
		line := &file.Lines()[i]
		if dek := v.ring.Deks().Lookup(line.Revision); dek != nil && dek.Line == line.Sum {
			lines[line.Revision] = line
		}
	}
	return func(item id.Item, revision id.Revision) bool {
		dek := v.ring.Deks().Lookup(revision)
		line := lines[revision]
		// A revision without parents needn't be opened: it answers nothing.
		return dek != nil && dek.Item == item && len(dek.Parents) > 0 && line != nil && v.verifyRevision(line, dek) == nil
	}
}
