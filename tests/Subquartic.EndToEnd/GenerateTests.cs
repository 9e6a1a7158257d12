using System.Diagnostics;
using System.Text.Json;
using Subquartic.Imaging;

namespace Subquartic.EndToEnd;

public sealed class GenerateTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    [Fact]
    public void The_first_command_draws_pictures_with_the_model_in_the_box()
    {
        CommandResult result = _program.Succeed("generate");
        Assert.Equal(17, _program.Files().Length);
        Assert.All(
            new[] { "out/000-apple.png", "out/005-fish.png", "out/015-umbrella.png", "out/grid.png" },
            file => Assert.Contains(file, result.Output, StringComparison.Ordinal));
        Assert.DoesNotContain('\e', result.Output + result.Error);
        RgbImage picture = ImageFile.Load(_program.At("out", "000-apple.png"));
        RgbImage grid = ImageFile.Load(_program.At("out", "grid.png"));
        Assert.Equal((64, 64, 4 * 66 - 2, 4 * 66 - 2), (picture.Height, picture.Width, grid.Height, grid.Width));
        Assert.True(picture.Bytes.SequenceEqual(grid.Crop(0, 0, 64, 64).Bytes));
        Assert.True(picture.Bytes.ToArray().Distinct().Count() > 50); // not blank
    }

    [Fact]
    public void Json_is_one_document_on_standard_output()
    {
        JsonElement json = _program.Succeed(
            "generate", "--class", "heart,none", "--count", "2", "--seed", "9", "--strip", "--grid", "-1", "--json").Json();
        Assert.Equal(9, json.GetProperty("sampling").GetProperty("seed").GetInt32());
        Assert.Equal("exact", json.GetProperty("model").GetProperty("attention").GetString());
        Assert.Equal(JsonValueKind.Null, json.GetProperty("grid").ValueKind);
        JsonElement[] pictures = [.. json.GetProperty("pictures").EnumerateArray()];
        Assert.Equal([7, 7, 16, 16], pictures.Select(picture => picture.GetProperty("class").GetInt32()));
        Assert.All(pictures, picture =>
        {
            Assert.Equal(1 + 4 + 9 + 16 + 36 + 64 + 144 + 256, picture.GetProperty("tokens").GetArrayLength());
            Assert.True(File.Exists(_program.At(picture.GetProperty("file").GetString()!)));
            RgbImage strip = ImageFile.Load(_program.At(picture.GetProperty("strip").GetString()!));
            Assert.Equal((64, 8 * 64 + 7 * 2), (strip.Height, strip.Width)); // eight scales, gaps of two pixels
        });
        JsonElement transformer = json.GetProperty("stages").EnumerateArray().Single(
            stage => stage.GetProperty("stage").GetString() == "transformer");
        Assert.True(transformer.GetProperty("flops").GetDouble() > 0);
        Assert.True(transformer.GetProperty("seconds").GetDouble() > 0);
        Assert.True(json.GetProperty("peakFlopsPerSecond").GetDouble() > 0);
    }

    [Fact]
    public void What_the_author_says_of_a_model_is_passed_on()
    {
        CommandResult result = _program.Succeed("generate", "--model", CommandLineProcess.TinyModel, "--class", "3");
        Assert.Contains("random weights", result.Error, StringComparison.Ordinal);
        Assert.Contains("out/000-class-3.png", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_same_seed_gives_the_same_bytes_whatever_the_threads_and_the_batch()
    {
        _program.Succeed("generate", "--class", "4", "5", "--seed", "1", "--out", "a", "--threads", "1");
        _program.Succeed("generate", "--class", "4", "--seed", "1", "--out", "b", "--threads", "3");
        _program.Succeed("generate", "--class", "4", "--seed", "2", "--out", "c");
        byte[] Picture(string folder) => File.ReadAllBytes(_program.At(folder, "000-cup.png"));
        Assert.Equal(Picture("a"), Picture("b"));
        Assert.NotEqual(Picture("a"), Picture("c"));
    }

    [Fact]
    public void Sampling_options_and_the_reference_attention_run()
    {
        CommandResult result = _program.Succeed(
            "generate", "--class", "1", "--guidance", "0", "--top-k", "1", "--top-p", "0", "--temperature", "0.7", "--smooth",
            "--attention", "reference", "--kernels", "vector128");
        Assert.Contains("vector128", result.Output, StringComparison.Ordinal);
        Assert.Equal(["out/000-boat.png"], _program.Files()); // one picture needs no grid
    }

    [Fact]
    public void A_model_recommends_how_to_draw_and_options_have_the_last_word()
    {
        Directory.CreateDirectory(_program.At("model"));
        foreach (string file in Directory.GetFiles(CommandLineProcess.TinyModel))
        {
            File.Copy(file, _program.At("model", Path.GetFileName(file)));
        }

        string json = _program.At("model", "var.json");
        string before = File.Exists(json) ? File.ReadAllText(json).Trim() : "{}";
        File.WriteAllText(json, before[..^1] + (before == "{}" ? "" : ",") + "\"recommended_sampling\":{\"guidance\":1.5,\"top_k\":3,\"temperature\":[1,1,1,1,0.5,0.5]}}");
        JsonElement Draw(params string[] arguments) => _program.Succeed(["generate", "--class", "3", "--json", .. arguments]).Json();
        JsonElement drawn = Draw("--model", "model", "--top-k", "5");
        JsonElement settings = drawn.GetProperty("sampling");
        Assert.Equal((1.5, 5), (settings.GetProperty("guidance").GetDouble(), settings.GetProperty("topK").GetInt32()));
        Assert.Equal("[1,1,1,1,0.5,0.5]", settings.GetProperty("temperature").GetRawText());
        JsonElement same = Draw("--model", CommandLineProcess.TinyModel, "--guidance", "1.5", "--top-k", "5", "--temperature", "1,1,1,1,0.5,0.5");
        Assert.Equal($"{same.GetProperty("pictures")[0].GetProperty("tokens")}", $"{drawn.GetProperty("pictures")[0].GetProperty("tokens")}");
    }

    [Fact]
    public void An_interrupt_stops_it_with_130_and_leaves_nothing_half_written()
    {
        if (OperatingSystem.IsWindows())
        {
            return; // there is no SIGINT to send
        }

        using Process process = _program.Start("generate", "--count", "10000", "--out", "pictures");
        // Pictures are saved as their batch is finished; when there is one, the rest is under way.
        Assert.True(SpinWait.SpinUntil(() => _program.Files().Length > 0 || process.HasExited, TimeSpan.FromMinutes(1)));
        using (Process kill = Process.Start("kill", ["-INT", $"{process.Id}"]))
        {
            kill.WaitForExit();
        }

        CommandResult result = CommandLineProcess.Finish(process);
        Assert.Equal((130, "subquartic: stopped"), (result.ExitCode, result.Error.Trim().Split('\n')[^1]));
        string[] pictures = _program.Files();
        Assert.InRange(pictures.Length, 1, 39_999);
        Assert.All(pictures, file => Assert.Equal((64, ".png"), (ImageFile.Load(_program.At(file)).Height, Path.GetExtension(file))));
    }

    public void Dispose() => _program.Dispose();
}
