# What the module adds to home-manager's configuration once it is enabled.
let lib = import ./lib.nix; in
source: (import (source + "/packaging/nix/home-manager.nix") {
  inherit lib;
  config.services.vigil = { enable = true; package = "/store/vigil"; };
  pkgs = { };
}).config
