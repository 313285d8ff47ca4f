# What the package asks of buildGoModule.
let lib = import ./lib.nix; in
source: builtins.removeAttrs
  (import (source + "/packaging/nix/package.nix") { inherit lib; version = "v9"; buildGoModule = asked: asked; })
  [ "src" ]
