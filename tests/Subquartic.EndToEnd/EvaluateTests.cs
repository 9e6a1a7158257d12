using System.IO.Compression;
using System.Text.Json;

namespace Subquartic.EndToEnd;

public sealed class EvaluateTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    [Fact]
    public void Judges_the_model_in_the_box_and_goes_on_where_it_was_stopped()
    {
        JsonElement first = Evaluate();
        JsonElement drawing = first.GetProperty("drawing");
        Assert.Equal(16, drawing.GetProperty("pictures").GetInt32());
        Assert.Equal(16, drawing.GetProperty("accuracyPerClass").GetArrayLength());

        // Noise is named right once in 16, so a model that draws its classes is far above.
        Assert.InRange(drawing.GetProperty("accuracy").GetDouble(), 0.5, 1);
        Assert.InRange(drawing.GetProperty("realAccuracy").GetDouble(), 0.95, 1);
        Assert.InRange(first.GetProperty("reconstruction").GetProperty("psnr").GetDouble(), 26, 40);
        Assert.True(File.Exists(_program.At("evaluation", "samples.png")));

        // A picture that is missing is drawn again, one that is there is not.
        string[] pictures = Directory.GetFiles(_program.At("evaluation", "pictures"), "*.png", SearchOption.AllDirectories);
        Assert.Equal(16, pictures.Length);
        byte[] bytes = File.ReadAllBytes(pictures[0]);
        File.Delete(pictures[0]);
        Assert.Equal(drawing.GetRawText(), Evaluate().GetProperty("drawing").GetRawText());
        Assert.Equal(bytes, File.ReadAllBytes(pictures[0]));

        CommandResult refused = _program.Run("evaluate", "--count", "2");
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("other settings", refused.Error, StringComparison.Ordinal);

        JsonElement Evaluate() => _program.Succeed("evaluate", "--count", "1", "--reconstructions", "16", "--json").Json();
    }

    [Fact]
    public void Writes_an_archive_for_another_evaluator()
    {
        JsonElement json = _program.Succeed(
            "evaluate", "--model", CommandLineProcess.TinyModel, "--count", "2", "--npz", "samples.npz", "--json").Json();
        Assert.Equal(JsonValueKind.Null, json.GetProperty("drawing").ValueKind);
        using ZipArchive archive = ZipFile.OpenRead(_program.At("samples.npz"));
        Assert.InRange(Assert.Single(archive.Entries).Length, 20 * 64 * 64 * 3 + 64, 20 * 64 * 64 * 3 + 128);
    }

    [Theory]
    [InlineData("evaluate --model TINY", "knows 16 classes, the model has 10", "train classifier")]
    [InlineData("evaluate --judge missing.safetensors", "missing.safetensors")]
    [InlineData("evaluate --judge TINY/vae.safetensors", "vae.safetensors", "JSON file")]
    [InlineData("evaluate --data missing", "--data missing")]
    public void Bad_input_is_named(string command, params string[] words)
    {
        CommandResult result = _program.Run(command.Replace("TINY", CommandLineProcess.TinyModel, StringComparison.Ordinal).Split(' '));
        Assert.Equal(1, result.ExitCode);
        Assert.All(words, word => Assert.Contains(word, result.Error, StringComparison.Ordinal));
        Assert.False(Directory.Exists(_program.At("evaluation")));
    }

    public void Dispose() => _program.Dispose();
}
