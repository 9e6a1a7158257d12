using System.Diagnostics;
using System.Text.Json;
using System.Xml.Linq;
using Subquartic.Checkpoints;
using Subquartic.Imaging;
using Subquartic.Models;

namespace Subquartic.EndToEnd;

/// <summary>Both stages on pictures of 16 x 16 pixels; the networks are as small as they can be.</summary>
public sealed class TrainTests : IDisposable
{
    private const string Tokenizer =
        "train vqvae --out tokenizer --scales 1,2,4 --vocabulary 32 --code-channels 8 --channels 32 --channel-multipliers 1,1,1 "
        + "--residual-blocks 1 --phi 2 --batch 4 --warm-up 1 --report-every 2 --seed 3";

    private const string Transformer =
        "train var --vae tokenizer/vae.safetensors --out model --depth 2 --width 32 --head-width 8 --max-attention-scale 2 --batch 4 --warm-up 1 "
        + "--samples 1";

    private readonly CommandLineProcess _program = new();

    [Fact]
    public void Both_stages_train_and_the_result_draws()
    {
        JsonElement vqVae = Train($"{Tokenizer} --steps 3 --json").Json();
        Assert.Equal(("vqvae", 3L), (vqVae.GetProperty("stage").GetString(), vqVae.GetProperty("steps").GetInt64()));
        Assert.Equal(3, vqVae.GetProperty("last").GetProperty("perScale").GetArrayLength());
        Assert.All(vqVae.GetProperty("files").EnumerateArray(), file => Assert.True(File.Exists(_program.At(file.GetProperty("file").GetString()!))));

        // 16 held-out icons in two rows of 8, each above its reconstructions.
        RgbImage pictures = ImageFile.Load(_program.At("tokenizer", "samples.png"));
        Assert.Equal((4 * 18 - 2, 8 * 18 - 2), (pictures.Height, pictures.Width));
        Assert.Equal([2, 3], Log("tokenizer").Select(line => line.GetProperty("step").GetInt32()));
        Assert.Equal("svg", XDocument.Load(_program.At("tokenizer", "curves.svg")).Root!.Name.LocalName);

        CommandResult var = Train($"{Transformer} --steps 2 --dtype f16");
        Assert.Contains("accuracy", File.ReadAllText(_program.At("model", "log.jsonl")), StringComparison.Ordinal);
        Assert.Contains("samples.png", var.Output, StringComparison.Ordinal);
        RgbImage samples = ImageFile.Load(_program.At("model", "samples.png"));
        Assert.Equal((16, 16 * 18 - 2), (samples.Height, samples.Width));
        using (var files = ModelFiles.Open(_program.At("model")))
        {
            VarConfig config = files.VarConfig;
            Assert.Equal((16, 4, 8, "1 2 4"), (config.Classes, config.Heads, config.HeadWidth, config.Scales.ToString()));
            Assert.Equal(TensorType.Float16, files.Var.Info("head.weight").Type);
            Assert.Equal(32, files.VqVaeConfig.Vocabulary);
        }

        JsonElement drawn = _program.Succeed("generate", "--model", "model", "--class", "3", "--json").Json();
        Assert.Equal(16, drawn.GetProperty("model").GetProperty("imageHeight").GetInt32());

        // The decoder alone goes on with what the model draws; the file is a VQ-VAE like the one before.
        JsonElement decoder = Train("train decoder --model model --out decoder --drawn-scales 1 --batch 2 --steps 2 --json").Json();
        Assert.Equal("decoder", decoder.GetProperty("stage").GetString());
        Assert.Equal(4 * 18 - 2, ImageFile.Load(_program.At("decoder", "samples.png")).Height);
        File.Copy(_program.At("decoder", "vae.safetensors"), _program.At("model", "vae.safetensors"), overwrite: true);
        JsonElement again = _program.Succeed("generate", "--model", "model", "--class", "3", "--json").Json();
        Assert.Equal(Tokens(drawn), Tokens(again));
        Train("train classifier --out judge --size 16 --batch 2 --steps 1");
        Train("train decoder --model model --out matched --true-share 1 --batch 2 --steps 3 --report-every 1 --match 0.3 --judge judge/classifier.safetensors --judge judge/classifier.safetensors");
        Assert.All(Log("matched"), line => Assert.Equal(0, line.GetProperty("measures").GetProperty("matching").GetDouble())); // so few pictures make no means
        Refuses(1, "train decoder --model model --out other --match 0.3 --judge judge/classifier.safetensors --judge none.safetensors", "none.safetensors");
        Refuses(2, "train decoder --model model --out other --drawn-scales 4", "--drawn-scales is 4", "has 3 maps");
        WritePicture(Path.Combine("two", "cat", "a.png"), 16);
        WritePicture(Path.Combine("two", "dog", "a.png"), 16);
        Refuses(1, "train decoder --model model --out other --data two", "--data has the classes cat, dog", "apple");

        // A critic chooses between beginnings, by default as many as it recommends.
        Refuses(1, "generate --model model --candidates 2", "--candidates is 2", "critic.safetensors");
        Refuses(2, "train critic --model model --out other --scales 3", "--scales is 3", "has 3 maps");
        Refuses(1, "train critic --model model --out other --data two", "--data has the classes cat, dog", "apple");
        JsonElement critic = Train("train critic --model model --out critic --batch 4 --steps 3 --candidates 3 --draw-every 2 --dtype f16 --json").Json();
        Assert.Equal("critic", critic.GetProperty("stage").GetString());
        Assert.Equal("""{"scales":2,"candidates":3}""", File.ReadAllText(_program.At("critic", "critic.json")).TrimEnd());
        foreach (string file in (string[])["critic.safetensors", "critic.json"])
        {
            File.Copy(_program.At("critic", file), _program.At("model", file));
        }

        JsonElement chosen = _program.Succeed("generate", "--model", "model", "--class", "3", "--json").Json();
        Assert.Equal(3, chosen.GetProperty("sampling").GetProperty("candidates").GetInt32());
        JsonElement one = _program.Succeed("generate", "--model", "model", "--class", "3", "--candidates", "1", "--json").Json();
        Assert.Equal(Tokens(drawn), Tokens(one));

        // Weights can be the start of another training; sizes come from the file.
        Train("train var --vae tokenizer/vae.safetensors --from model/var.safetensors --out tuned --batch 2 --steps 1 --samples 1");
        const string other = "train var --vae tokenizer/vae.safetensors --out other";

        // Blocks can be added.
        Train("train var --vae tokenizer/vae.safetensors --from model/var.safetensors --depth 3 --out deeper --batch 2 --steps 1 --samples 1");
        using (var files = ModelFiles.Open(_program.At("deeper")))
        {
            Assert.Equal(3, files.VarConfig.Depth);
        }

        // A model trained for several passes says so, to drawing and to the training after it.
        Train("train var --vae tokenizer/vae.safetensors --from model/var.safetensors --out passes --passes 4 --batch 2 --steps 1 --samples 1");
        Train("train var --vae tokenizer/vae.safetensors --from passes/var.safetensors --out after --batch 2 --steps 1 --samples 1");
        JsonElement several = _program.Succeed("generate", "--model", "after", "--class", "3", "--json").Json();
        Assert.Equal(4, several.GetProperty("sampling").GetProperty("passes").GetInt32());
        JsonElement single = _program.Succeed("generate", "--model", "after", "--class", "3", "--passes", "1,1,2", "--json").Json();
        Assert.Equal("[1,1,2]", single.GetProperty("sampling").GetProperty("passes").GetRawText());
        Train("train var --vae tokenizer/vae.safetensors --out turned --depth 1 --width 16 --heads 2 --rope --batch 2 --steps 1 --samples 1");
        using (var files = ModelFiles.Open(_program.At("turned")))
        {
            Assert.Equal(100f, files.VarConfig.RopeBase);
        }

        Refuses(2, $"{other} --width 12 --heads 2 --rope", "--rope", "width 6");
        Refuses(2, $"{other} --from model/var.safetensors --depth 1", "--depth is 1", "has 2");
        Refuses(2, $"{other} --first-scales 4 --from model/var.safetensors", "--first-scales is 4", "there are 3 scales");
        Refuses(2, $"{other} --scales 1,4", "--scales are 1 4", "trained with 1 2 4");
        Refuses(2, $"{other} --size 32", "--size is 32", "16 x 16");
        Refuses(2, $"{other} --width 32 --heads 3", "--width is 32", "multiple of --heads, 3");
        Refuses(1, $"{Transformer} --steps 2", "--out model", "--resume");
        Refuses(1, $"{Transformer} --steps 3 --resume", "--resume: --steps is 3", "with 2");
        WritePicture(Path.Combine("lonely", "cat", "a.png"), 16);
        Refuses(1, $"{other} --data lonely", "one class only, 'cat'");

        static string Tokens(JsonElement document) => document.GetProperty("pictures")[0].GetProperty("tokens").GetRawText();
    }

    [Fact]
    public void A_stopped_training_goes_on_to_the_same_bytes()
    {
        if (OperatingSystem.IsWindows())
        {
            return; // there is no SIGINT to send
        }

        Train($"{Tokenizer} --steps 30 --threads 1");
        byte[] through = File.ReadAllBytes(_program.At("tokenizer", "vae.safetensors"));
        Directory.Delete(_program.At("tokenizer"), recursive: true);

        // Saving after every step slows the training down enough to be stopped in the middle; if it is not, nothing is left to go on with.
        using Process process = _program.Start($"{Tokenizer} --steps 30 --save-every 1".Split(' '));
        Assert.True(SpinWait.SpinUntil(() => File.Exists(_program.At("tokenizer", "state.safetensors")), TimeSpan.FromMinutes(1)));
        using (var kill = Process.Start("kill", ["-INT", $"{process.Id}"]))
        {
            kill.WaitForExit();
        }

        CommandResult stopped = CommandLineProcess.Finish(process);
        Assert.Equal(130, stopped.ExitCode);
        Assert.Contains("--resume goes on", stopped.Error, StringComparison.Ordinal);
        Assert.DoesNotContain(_program.Files(), file => file.EndsWith(".tmp", StringComparison.Ordinal));
        File.AppendAllText(_program.At("tokenizer", "log.jsonl"), "{\"step\":");
        Train($"{Tokenizer} --steps 30 --resume");
        Assert.Equal(through, File.ReadAllBytes(_program.At("tokenizer", "vae.safetensors")));
        int[] steps = [.. Log("tokenizer").Select(line => line.GetProperty("step").GetInt32())];
        Assert.Equal(30, steps[^1]);
        Assert.Equal(steps.Distinct().Order(), steps);
    }

    [Fact]
    public void Neither_a_damaged_picture_nor_a_full_disk_costs_a_saved_step()
    {
        for (int i = 0; i < 8; i++)
        {
            WritePicture(Path.Combine("pictures", i < 4 ? "cat" : "dog", $"{i}.png"), 16);
        }

        // In the order of this seed the picture is not among the first; its header is whole, its pixels are not.
        string damaged = _program.At("pictures", "dog", "5.png");
        byte[] whole = File.ReadAllBytes(damaged);
        File.WriteAllBytes(damaged, whole[..^20]);
        string command = Tokenizer.Replace("--batch 4", "--batch 1", StringComparison.Ordinal) + " --data pictures --steps 8";
        CommandResult result = _program.Run(command.Split(' '));
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("5.png", result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1], StringComparison.Ordinal);
        File.WriteAllBytes(damaged, whole);
        if (OperatingSystem.IsLinux())
        {
            // A limit on the length of files stops a writer in the middle, as a full disk does.
            string state = _program.At("tokenizer", "state.safetensors");
            byte[] saved = File.ReadAllBytes(state);
            CommandResult full = _program.RunWithFileLimit(saved.Length / 2, $"{command} --resume".Split(' '));
            Assert.Equal(1, full.ExitCode);
            Assert.Contains("state.safetensors could not be written", full.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1], StringComparison.Ordinal);
            Assert.Equal(saved, File.ReadAllBytes(state));
            Assert.DoesNotContain(_program.Files(), file => file.EndsWith(".tmp", StringComparison.Ordinal));
        }

        Train($"{command} --resume");
        Assert.Equal(8, Log("tokenizer")[^1].GetProperty("step").GetInt32());
    }

    [Theory]
    [InlineData(2, "train", "train")]
    [InlineData(2, "train gan", "no verb 'gan'; there are vqvae, var, decoder, critic, lora")]
    [InlineData(2, "train vqvae", "--out")]
    [InlineData(2, "train var --out x", "--vae")]
    [InlineData(2, "train vqvae --out x --channels 48", "--channels is '48', must be a multiple of 32")]
    [InlineData(2, "train vqvae --out x --scales 4,2", "--scales is '4,2'")]
    [InlineData(2, "train vqvae --out x --channel-multipliers 1,0", "--channel-multipliers is '1,0'")]
    [InlineData(2, "train vqvae --out x --beta1 1", "--beta1 is '1'")]
    [InlineData(2, "train vqvae --out x --size 64", "--size is 64", "256 x 256")]
    [InlineData(2, "train vqvae --out x --scales 1,64", "icons are square, 16 to 512")]
    [InlineData(2, "train var --out x --vae y --heads 2 --head-width 8", "--heads or --head-width")]
    [InlineData(2, "train var --out x --vae y --no-l2-norm --max-attention-scale 2", "--no-l2-norm")]
    [InlineData(2, "train var --out x --vae y --optimizer sgd", "--optimizer is 'sgd', must be one of adamw, muon")]
    [InlineData(2, "train var --out x --vae y --full-every 0", "--full-every is '0'")]
    [InlineData(1, "train vqvae --out file", "--out file: there is a file")]
    [InlineData(1, "train vqvae --out x --data missing", "--data missing")]
    [InlineData(1, "train vqvae --out x --data empty", "empty")]
    [InlineData(1, "train vqvae --out x --data mixed", "24 x 24", "16 x 16")]
    [InlineData(1, "train vqvae --out x --data same", "16 x 16 pixels", "--size 256")]
    [InlineData(1, "train vqvae --out x --data same --scales 1,4 --channel-multipliers 1,1,1 --channels 32", "b.png")]
    [InlineData(2, "train classifier --out x --size 40", "--size is 40; it must divide by 16")]
    [InlineData(1, "train classifier --out x --data odd", "20 x 20 pixels, which do not divide by 16; --size makes them fit")]
    [InlineData(1, "train classifier --out x --data same", "one class only, 'cat'")]
    [InlineData(1, "train vqvae --out x --resume", "no training to go on with in x")]
    [InlineData(1, "train vqvae --out x --from file", "file")]
    [InlineData(1, "train var --out x --vae missing", "missing")]
    [InlineData(2, "train decoder --out x", "--model")]
    [InlineData(1, "train decoder --out x --model missing", "missing")]
    [InlineData(2, "train decoder --out x --model MODEL --true-share 2", "--true-share is '2'")]
    [InlineData(2, "train decoder --out x --model MODEL --match -1", "--match is '-1'")]
    [InlineData(2, "train decoder --out x --model MODEL --draw-every 0", "--draw-every is '0'")]
    [InlineData(2, "train critic --out x", "--model")]
    [InlineData(1, "train critic --out x --model missing", "missing")]
    [InlineData(2, "train critic --out x --model MODEL --scales 99", "--scales is 99")]
    [InlineData(2, "train lora --out x", "--model")]
    [InlineData(1, "train lora --out x --model missing", "missing")]
    [InlineData(2, "train lora --out x --model MODEL --targets q,x", "no target 'x'")]
    [InlineData(2, "train lora --out x --model MODEL --rank 65", "rank 65 does not fit blocks.0.attn.mat_qkv")]
    [InlineData(1, "merge --model MODEL --adapter missing --out x", "missing")]
    public void Bad_input_is_refused_in_one_line(int code, string command, params string[] words)
    {
        File.WriteAllText(_program.At("file"), "not what you think");
        Directory.CreateDirectory(_program.At("empty"));
        WritePicture(Path.Combine("mixed", "cat", "a.png"), 16);
        WritePicture(Path.Combine("mixed", "dog", "b.png"), 24);
        WritePicture(Path.Combine("odd", "cat", "a.png"), 20);
        WritePicture(Path.Combine("odd", "dog", "a.png"), 20);
        WritePicture(Path.Combine("same", "cat", "a.png"), 16);
        WritePicture(Path.Combine("same", "cat", "b.png"), 16);
        byte[] bytes = File.ReadAllBytes(_program.At("same", "cat", "b.png"));
        File.WriteAllBytes(_program.At("same", "cat", "b.png"), bytes[..^20]); // the header is whole, the pixels are not
        Refuses(code, command.Replace("MODEL", CommandLineProcess.TinyModel, StringComparison.Ordinal), words);
    }

    [Fact]
    public void An_adapter_learns_a_class_and_is_drawn_with_merged_and_taken_out()
    {
        WritePicture(Path.Combine("new", "rocket", "a.png"), 64);
        string model = CommandLineProcess.TinyModel;
        JsonElement trained = Train($"train lora --model {model} --data new --out rocket --rank 2 --targets q,v,fc2 --replay 1 --steps 2 --batch 2 --samples 1 --json").Json();
        Assert.Equal("lora", trained.GetProperty("stage").GetString());
        Assert.Equal(64, ImageFile.Load(_program.At("rocket", "samples.png")).Height);
        int[] adapted = Tokens($"--model {model} --adapter rocket --class 10");
        Assert.Equal(adapted, Tokens($"--model {model} --adapter rocket:0 --adapter rocket --class 11"));
        _program.Succeed("merge", "--model", model, "--adapter", "rocket", "--out", "merged", "--dtype", "f32");
        Assert.Equal(adapted, Tokens("--model merged --class 10"));
        _program.Succeed("merge", "--model", "merged", "--adapter", "rocket", "--undo", "--out", "plain");
        Assert.Equal(Tokens($"--model {model} --class 3"), Tokens("--model plain --class 3"));
        Assert.Equal(2, _program.Run("generate", "--model", "plain", "--class", "10").ExitCode);
        Assert.Equal(1, _program.Run("merge", "--model", "plain", "--adapter", "rocket", "--undo", "--out", "again").ExitCode);
        Assert.False(Directory.Exists(_program.At("again")));

        int[] Tokens(string arguments) =>
        [
            .. _program.Succeed($"generate {arguments} --seed 3 --json".Split(' ')).Json().GetProperty("pictures")[0].GetProperty("tokens")
                .EnumerateArray().Select(token => token.GetInt32()),
        ];
    }

    public void Dispose() => _program.Dispose();

    private void Refuses(int code, string command, params string[] words)
    {
        CommandResult result = _program.Run(command.Split(' '));
        Assert.Equal(code, result.ExitCode);
        string line = Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.All(words, word => Assert.Contains(word, line, StringComparison.Ordinal));
    }

    private CommandResult Train(string command) => _program.Succeed(command.Split(' '));

    private JsonElement[] Log(string folder) =>
        [.. File.ReadLines(_program.At(folder, "log.jsonl")).Select(line =>
        {
            using var document = JsonDocument.Parse(line);
            return document.RootElement.Clone();
        })];

    private void WritePicture(string path, int side)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_program.At(path))!);
        ImageFile.Save(new RgbImage(side, side), _program.At(path));
    }
}
