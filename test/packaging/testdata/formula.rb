# Stands in for Homebrew: reads a formula, builds it from its source, and runs its test.
#
#   ruby formula.rb FORMULA SOURCE PREFIX     SOURCE is the archive that its url names
require "digest"
require "pathname"

class Formula
  class << self
    attr_reader :fields

    %i[desc homepage url version sha256 license depends_on].each do |field|
      define_method(field) { |value| (@fields ||= {})[field] = value }
    end

    def test(&block) = define_method(:run_test, &block)
  end

  attr_reader :prefix

  def initialize(prefix) = @prefix = Pathname(prefix)
  def bin = prefix/"bin"
  def version = self.class.fields[:version]
  def system(*command) = Kernel.system(*command) || raise("#{command}: #{$?}")
  def shell_output(command) = `#{command}`.tap { raise "#{command}: #{$?}" unless $?.success? }
  def assert_match(want, got) = got.include?(want) || raise("#{got} lacks #{want}")
end

formula, source, prefix = ARGV
load formula
fields = Vigil.fields
raise "made for #{fields[:sha256]}" if Digest::SHA256.file(source).hexdigest != fields[:sha256]
raise "named #{fields[:url]}" if File.basename(fields[:url]) != File.basename(source)

Dir.mkdir("source")
Kernel.system("tar", "-C", "source", "--strip-components=1", "-xzf", source, exception: true)
made = Vigil.new(prefix)
Dir.chdir("source") { made.install }
made.run_test
puts made.caveats
