# Vigil for Nix: nix-build -E '(import <nixpkgs> {}).callPackage ./packaging/nix/package.nix {}'
#
# The store makes every file readable, so that a process of these programs is undumpable
# only from its own first steps on, not from exec on (docs/threat-model.md).
{ lib, buildGoModule, version ? "unreleased" }:

buildGoModule {
  pname = "vigil";
  inherit version;
  src = lib.cleanSource ../..;

  # Of what `go mod vendor` makes. `make test-packages` says the new one when it changes.
  vendorHash = "sha256-cdaFT0gr3p5706mUFlowqmMFuikq9a+bvht+0dDdve8=";

  buildPhase = ''
    runHook preBuild
    make install version=${version} DESTDIR= PREFIX=$out
    runHook postBuild
  '';
  dontInstall = true;
  doCheck = false; # `make test` needs OpenSSH, git and a system to itself

  meta = {
    description = "SSH agent that keeps keys in an encrypted vault";
    license = lib.licenses.asl20;
    mainProgram = "vigilctl";
    platforms = lib.platforms.linux ++ lib.platforms.darwin;
  };
}
