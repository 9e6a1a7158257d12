using System.Text.Json;
using System.Text.Json.Nodes;

namespace Subquartic.EndToEnd;

public sealed class CheckpointTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    [Fact]
    public void Verify_passes_a_recorded_case_and_fails_when_a_tolerance_is_exceeded()
    {
        JsonElement json = _program.Succeed("verify", CommandLineProcess.Case, "--json").Json();
        Assert.True(json.GetProperty("passed").GetBoolean());
        Assert.Contains(
            json.GetProperty("tensors").EnumerateArray(),
            row => row.GetProperty("tensor").GetString() == "vq.recon" && row.GetProperty("maxError").GetDouble() > 0);

        foreach (string file in Directory.GetFiles(CommandLineProcess.Case))
        {
            File.Copy(file, _program.At(Path.GetFileName(file)));
        }

        JsonNode config = JsonNode.Parse(File.ReadAllText(_program.At("config.json")))!;
        foreach (string key in config["tolerances"]!.AsObject().Select(entry => entry.Key).ToArray())
        {
            config["tolerances"]![key] = 1e-30;
        }

        File.WriteAllText(_program.At("config.json"), config.ToJsonString());
        CommandResult strict = _program.Run("verify", ".");
        Assert.Equal(1, strict.ExitCode);
        Assert.Contains("failed", strict.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\e', strict.Output);
    }

    [Fact]
    public void The_model_in_the_box_can_be_made_again_byte_for_byte()
    {
        _program.Succeed("random", "--tiny", "--dtype", "f16", "--out", "again");
        foreach (string name in new[] { "var.safetensors", "vae.safetensors" })
        {
            Assert.Equal(File.ReadAllBytes(Path.Combine(CommandLineProcess.TinyModel, name)), File.ReadAllBytes(_program.At("again", name)));
        }
    }

    [Fact]
    public void A_converted_checkpoint_draws_the_same_picture()
    {
        Directory.CreateDirectory(_program.At("converted"));
        foreach (string name in new[] { "var", "vae" })
        {
            _program.Succeed("convert", Path.Combine(CommandLineProcess.Case, $"{name}.pth"), _program.At("converted", $"{name}.safetensors"));
        }

        JsonElement before = _program.Succeed("inspect", Path.Combine(CommandLineProcess.Case, "var.pth"), "--json").Json();
        JsonElement after = _program.Succeed("inspect", _program.At("converted", "var.safetensors"), "--json").Json();
        Assert.Equal(before.GetProperty("var").GetRawText(), after.GetProperty("var").GetRawText());
        _program.Succeed("generate", "--model", CommandLineProcess.Case, "--class", "7", "--out", "a");
        _program.Succeed("generate", "--model", "converted", "--class", "7", "--out", "b");
        Assert.Equal(File.ReadAllBytes(_program.At("a", "000-class-7.png")), File.ReadAllBytes(_program.At("b", "000-class-7.png")));
    }

    public void Dispose() => _program.Dispose();
}
