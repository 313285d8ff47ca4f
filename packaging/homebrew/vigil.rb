# Vigil for Homebrew. `make release URL=…` fills in where the source is and its hash.
class Vigil < Formula
  desc "SSH agent that keeps keys in an encrypted vault"
  homepage "@URL@"
  url "@URL@/vigil-@VERSION@.tar.gz"
  version "@VERSION@"
  sha256 "@SHA256@"
  license "Apache-2.0"

  depends_on "go" => :build

  def install
    system "make", "install", "version=#{version}", "DESTDIR=", "PREFIX=#{prefix}"
  end

  def caveats
    <<~EOS
      Each user turns the agent on for their logins with
        vigilctl service enable
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/vigilctl --version")
  end
end
