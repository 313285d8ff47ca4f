# Vigil for home-manager, on Linux: services.vigil.enable = true;
#
# It takes the place of `vigilctl service enable`: the units are the package's own, and
# SSH_AUTH_SOCK leads to Vigil except where it leads to a forwarded agent.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.vigil;
  unit = name: "${cfg.package}/lib/systemd/user/${name}";
in
{
  options.services.vigil = {
    enable = lib.mkEnableOption "the SSH agent Vigil";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package of Vigil.";
    };
  };

  config = lib.mkIf cfg.enable {
    home.packages = [ cfg.package ];

    xdg.configFile = {
      "systemd/user/vigild.service".source = unit "vigild.service";
      "systemd/user/vigild.socket".source = unit "vigild.socket";
      "systemd/user/vigild-control.socket".source = unit "vigild-control.socket";
      "systemd/user/sockets.target.wants/vigild.socket".source = unit "vigild.socket";
      "systemd/user/sockets.target.wants/vigild-control.socket".source = unit "vigild-control.socket";
    };

    # What systemd's user manager starts; a shell asks whether there is a forwarded agent.
    systemd.user.sessionVariables.SSH_AUTH_SOCK = "\${XDG_RUNTIME_DIR}/vigil/agent.sock";
    home.sessionVariablesExtra = ''
      if [ -z "$SSH_CONNECTION" ] || [ -z "$SSH_AUTH_SOCK" ]; then
        export SSH_AUTH_SOCK="$XDG_RUNTIME_DIR/vigil/agent.sock"
      fi
    '';
  };
}
