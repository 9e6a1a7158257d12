namespace Subquartic.EndToEnd;

public sealed class ErrorTests : IDisposable
{
    private readonly CommandLineProcess _program = new();

    [Theory]
    [InlineData("bogus", "no verb 'bogus'")]
    [InlineData("generate extra", "'extra'")]
    [InlineData("generate --bogus", "'--bogus'")]
    [InlineData("generate --count x", "--count is 'x', must be a whole number, 1 to 10000")]
    [InlineData("generate --count 0", "--count is '0'")]
    [InlineData("generate --seed -1", "--seed is '-1'")]
    [InlineData("generate --top-p 1.5", "--top-p is '1.5'")]
    [InlineData("generate --top-k -2", "--top-k is '-2'")]
    [InlineData("generate --temperature 0", "--temperature is '0'")]
    [InlineData("generate --temperature 1,x", "--temperature is '1,x'", "one for each scale")]
    [InlineData("generate --temperature 1,1", "--temperature has 2 values", "8 scales")]
    [InlineData("generate --passes 17", "--passes is '17'", "1 to 16")]
    [InlineData("generate --passes 2 --smooth", "--smooth", "--passes")]
    [InlineData("generate --guidance NaN", "--guidance is 'NaN'")]
    [InlineData("generate --attention fuzzy", "exact, low-rank, certified, audited, reference")]
    [InlineData("generate --kernels vector1024", "vector512")]
    [InlineData("generate --class", "--class")]
    [InlineData("generate --class volcano", "--class 'volcano': there is no such class; there are apple, boat")]
    [InlineData("edit a.png", "--mask or --box")]
    [InlineData("edit a.png --box 1,2,3", "--box is '1,2,3'")]
    [InlineData("edit a.png --mask b.png --outside", "--outside needs --box")]
    [InlineData("reconstruct", "image")]
    [InlineData("inspect", "file")]
    [InlineData("analyze --class 16", "--class '16'", "there are apple, boat")]
    [InlineData("analyze --n 16,1", "--n is '16,1'")]
    [InlineData("analyze --images 0", "--images is '0'")]
    [InlineData("analyze --tolerance 1", "--tolerance is '1'")]
    public void Usage_errors_are_one_line_and_exit_with_2(string command, params string[] words) => Refuses(2, command, words);

    [Theory]
    [InlineData("generate --model missing", "missing")]
    [InlineData("generate --model empty", "empty", "no VAR transformer")]
    [InlineData("generate --model truncated", "truncated", "var.safetensors")]
    [InlineData("generate --model garbage", "garbage", "var.safetensors")]
    [InlineData("generate --out file.txt", "file.txt", "there is a file of that name")]
    [InlineData("edit missing.png --box 0,0,1,1", "missing.png")]
    [InlineData("edit file.txt --box 0,0,1,1", "file.txt", "neither PNG nor PPM")]
    [InlineData("edit bomb.png --box 0,0,1,1", "bomb.png", "30000 x 2000")]
    [InlineData("edit small.ppm --box 0,0,3,1", "--box 0,0,3,1", "1 x 2 pixels")]
    [InlineData("edit small.ppm --mask other.ppm", "other.ppm", "2 x 1 pixels")]
    [InlineData("reconstruct missing.png", "missing.png")]
    [InlineData("verify missing", "missing")]
    [InlineData("inspect missing.pth", "missing.pth")]
    [InlineData("inspect file.txt", "file.txt")]
    [InlineData("analyze --model missing", "missing")]
    [InlineData("analyze --model truncated", "truncated", "var.safetensors")]
    [InlineData("analyze --out file.txt", "file.txt", "there is a file of that name")]
    [InlineData("convert file.txt out.safetensors", "file.txt")]
    public void Bad_input_is_one_line_and_exits_with_1(string command, params string[] words)
    {
        File.WriteAllText(_program.At("file.txt"), "not what you think");
        Directory.CreateDirectory(_program.At("empty"));
        foreach (string name in new[] { "truncated", "garbage" })
        {
            Directory.CreateDirectory(_program.At(name));
            foreach (string file in Directory.GetFiles(CommandLineProcess.TinyModel))
            {
                File.Copy(file, _program.At(name, Path.GetFileName(file)));
            }
        }

        byte[] weights = File.ReadAllBytes(_program.At("truncated", "var.safetensors"));
        File.WriteAllBytes(_program.At("truncated", "var.safetensors"), weights[..^1]);
        Array.Fill(weights, (byte)0xAB, 0, 64);
        File.WriteAllBytes(_program.At("garbage", "var.safetensors"), weights);
        File.WriteAllBytes(_program.At("small.ppm"), [.. "P6 2 1 255\n"u8, 1, 2, 3, 4, 5, 6]);
        File.WriteAllBytes(_program.At("other.ppm"), [.. "P6 1 2 255\n"u8, 1, 2, 3, 4, 5, 6]);

        // A PNG of 30000 x 2000 pixels whose data hold one; the checksums are right.
        File.WriteAllBytes(_program.At("bomb.png"), Convert.FromHexString(
            "89504E470D0A1A0A0000000D4948445200007530000007D008000000002EFF7DE60000000A494441"
            + "54789C63600400000300024BF5DDEA0000000049454E44AE426082"));
        string[] before = _program.Files();
        Refuses(1, command, words);
        Assert.Equal(before, _program.Files());
    }

    public void Dispose() => _program.Dispose();

    private void Refuses(int code, string command, params string[] words)
    {
        CommandResult result = _program.Run(command.Split(' '));
        Assert.Equal(code, result.ExitCode);
        Assert.Empty(result.Output);
        string line = Assert.Single(
            result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries),
            line => !line.Contains("random weights", StringComparison.Ordinal));
        Assert.StartsWith("subquartic", line, StringComparison.Ordinal);
        Assert.All(words, word => Assert.Contains(word, line, StringComparison.Ordinal));
    }
}
