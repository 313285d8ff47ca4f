package main

import (
	"io"

	"github.com/spf13/cobra"

	"vigil/internal/buildid"
	"vigil/internal/control"
)

// versions is what `version` prints.
type versions struct {
	Version string                `json:"version"`
	Build   string                `json:"build"`
	Daemon  *control.VersionReply `json:"daemon,omitempty"` // absent if none is running
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version of vigilctl and of the running daemon",
		Long:    `Show version and build of vigilctl, and of the daemon if one is running.`,
		Example: `  vigilctl version --json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Version: buildid.Version(), Build: buildid.ID()}
			if d, err := call(cmd.Context(), a, &control.VersionRequest{}); err == nil {
				v.Daemon = d
			}
			return a.print(v, func(w io.Writer) {
				printf(w, "vigilctl %s (build %s)\n", v.Version, v.Build)
				switch {
				case v.Daemon == nil:
					printf(w, "vigild is not running\n")
				case v.Daemon.Build != v.Build:
					printf(w, "vigild %s (build %s), pid %d: another build, `vigilctl up` restarts it\n",
						v.Daemon.Version, v.Daemon.Build, v.Daemon.PID)
				default:
					printf(w, "vigild %s (build %s), pid %d\n", v.Daemon.Version, v.Daemon.Build, v.Daemon.PID)
				}
			})
		},
	}
}
