// Command sbom prints a bill of materials of programs, in CycloneDX 1.6: each program with
// its hash, and the modules and the Go release that it was linked with, as the program
// itself says.
//
//	sbom VERSION PROGRAM...
//
// SOURCE_DATE_EPOCH (seconds) is its time, without which it has none.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION PROGRAM...")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(w io.Writer, version string, programs []string) error {
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: "vigil", Type: cyclonedx.ComponentTypeApplication, Name: "vigil", Version: version,
	}}
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		bom.Metadata.Timestamp = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	var components []cyclonedx.Component
	var dependencies []cyclonedx.Dependency
	known := map[string]bool{}
	for _, path := range programs {
		program, linked, err := read(path, version)
		if err != nil {
			return err
		}
		var refs []string
		for _, c := range linked {
			refs = append(refs, c.BOMRef)
			if !known[c.BOMRef] {
				known[c.BOMRef] = true
				components = append(components, c)
			}
		}
		components = append(components, program)
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: program.BOMRef, Dependencies: &refs})
	}
	slices.SortFunc(components, func(a, b cyclonedx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom.Components, bom.Dependencies = &components, &dependencies
	return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
}

// read returns a program and what it was linked with.
func read(path, version string) (program cyclonedx.Component, linked []cyclonedx.Component, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return program, nil, err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return program, nil, err
	}
	sum := sha256.Sum256(text)
	name := filepath.Base(path)
	program = cyclonedx.Component{
		BOMRef: "program/" + name, Type: cyclonedx.ComponentTypeApplication, Name: name, Version: version,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
	}
	release, _, _ := strings.Cut(info.GoVersion, " ") // "go1.26.8 X:runtimesecret"
	linked = append(linked, module("std", strings.TrimPrefix(release, "go"), ""))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		linked = append(linked, module(m.Path, m.Version, m.Sum))
	}
	return program, linked, nil
}

// module is a Go module; its sum is that of go.sum.
func module(path, version, sum string) cyclonedx.Component {
	purl := "pkg:golang/" + path + "@" + version
	c := cyclonedx.Component{BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl}
	if sum != "" {
		c.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: sum}}
	}
	return c
}
