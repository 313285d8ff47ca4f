# As much of nixpkgs' lib as the package and the module use.
{
  cleanSource = path: path;
  licenses.asl20 = "Apache-2.0";
  platforms = { linux = [ "x86_64-linux" ]; darwin = [ "aarch64-darwin" ]; };
  types.package = "package";
  mkEnableOption = what: { description = what; };
  mkOption = option: option;
  mkIf = condition: value: if condition then value else { };
  literalExpression = text: text;
}
