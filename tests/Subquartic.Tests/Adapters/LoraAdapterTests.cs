using Subquartic.Adapters;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Tests.Training;
using Subquartic.Training;

namespace Subquartic.Tests.Adapters;

/// <summary>Adapters on a transformer with random weights: what is trained, saved, merged, weighted, switched and taken out again is the same.</summary>
public sealed class LoraAdapterTests : IDisposable
{
    private static readonly ScaleSchedule Scales = ScaleSchedule.Square(1, 2, 3);
    private static readonly VarConfig Config = SmallModels.Transformer with
    {
        Heads = 3,
        HiddenWidth = 40,
        Classes = 5,
        Vocabulary = 30,
        CodeChannels = 6,
        SharedAdaLn = false,
        Scales = Scales,
    };

    private readonly string _folder = Directory.CreateTempSubdirectory("subquartic-lora-").FullName;

    public LoraAdapterTests() => SafetensorsWriter.Write(At("var.safetensors"), new RandomTensors(TensorType.Float32, 7).Var(Config));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("q,v", false)]
    [InlineData("q,k,v,proj,fc1,fc2,adaln,head_adaln,head", true)]
    [InlineData("qkv", true)]
    public void What_is_trained_is_what_is_merged(string targets, bool newClass)
    {
        LoraOptions options = new() { Rank = 3, Alpha = 5, Targets = targets.Split(','), NewClasses = newClass ? ["rocket"] : [] };
        float[] trained = SaveAdapter("a", options, seed: 1, out float[] logits);
        LoraAdapter adapter = LoraAdapter.Open(At("a"));
        Assert.Equal(newClass ? ["rocket"] : [], adapter.ClassNames);
        Assert.All(adapter.Layers.Values, factors => Assert.Equal(5.0 / 3, factors.Scale, 12));
        float[] merged = Logits([new(adapter, 1)], newClass ? 5 : 4);
        AssertClose(logits, merged, 2e-5);
        Assert.NotEqual(trained, merged);

        // Merged into a file and taken out again, the weights are the old ones up to rounding.
        using (Checkpoint file = Checkpoint.Open(At("var.safetensors")))
        using (var with = new AdaptedCheckpoint(file.Root, [new(adapter, 1)]))
        {
            CheckpointConverter.Convert(with, At("merged.safetensors"));
        }

        using Checkpoint old = Checkpoint.Open(At("var.safetensors"));
        using var without = new AdaptedCheckpoint(Checkpoint.Open(At("merged.safetensors")).Root, [new(adapter, 1)], undo: true);
        Assert.Equal(old.Tensors.Keys.Order(), without.Tensors.Keys.Order());
        foreach (TensorInfo tensor in old.Tensors.Values.Where(tensor => tensor.Type.IsFloat))
        {
            float[] expected = new float[tensor.Length], actual = new float[tensor.Length];
            old.Read(tensor.Name, expected);
            without.Read(tensor.Name, actual);
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.InRange(actual[i], expected[i] - 1e-6f, expected[i] + 1e-6f);
            }
        }
    }

    [Fact]
    public void Adapters_are_weighted_and_switched()
    {
        SaveAdapter("a", new LoraOptions { Rank = 2, Targets = ["q", "v", "fc2"], NewClasses = ["rocket"] }, seed: 1, out _);
        SaveAdapter("b", new LoraOptions { Rank = 4, Targets = ["adaln", "q"], NewClasses = ["cat"] }, seed: 2, out float[] ofB);
        LoraAdapter a = LoraAdapter.Open(At("a")), b = LoraAdapter.Open(At(Path.Combine("b", LoraAdapter.FileName)));
        float[] plain = Logits([], 4);
        Assert.Equal(plain, Logits([new(a, 0), new(b, 0)], 4));
        AssertClose(ofB, Logits([new(b, 1)], 5), 2e-5);
        AssertClose(ofB, Logits([new(a, 0), new(b, 1)], 6), 2e-5); // b's class follows a's
        Assert.NotEqual(Logits([new(a, 1)], 4), Logits([new(a, 0.5)], 4));
    }

    [Fact]
    public void Files_that_do_not_fit_are_refused_by_name()
    {
        SaveAdapter("a", new LoraOptions { Rank = 2, Targets = ["q", "head"], NewClasses = ["rocket"] }, seed: 1, out _);
        LoraAdapter good = LoraAdapter.Open(At("a"));
        string tensor = "base_model.model.blocks.0.attn.mat_qkv.lora_B.weight";

        Refused(() => Rewrite("a", "c", (name, shape) => name == tensor ? [72, 3] : shape), tensor, "expected (72, 2)");
        Refused(() => Rewrite("a", "c", (name, shape) => name == tensor ? null : shape), tensor, "there is no such tensor");
        Refused(() => Rewrite("a", "c", (_, shape) => shape, extra: "base_model.model.head.bias"), "base_model.model.head.bias", "not part of a LoRA adapter");
        Refused(() => Rewrite("a", "c", (_, shape) => shape, config: ("\"r\": 2", "\"r\": 3")), "adapter_config.json", "3 for");
        Refused(() => Rewrite("a", "c", (_, shape) => shape, config: ("LORA", "IA3")), "peft_type", "'IA3'");
        Refused(() => Rewrite("a", "c", (_, shape) => shape, config: ("\"use_dora\": false", "\"use_dora\": true")), "use_dora", "not supported");

        // The same adapter on a wider model, on one without the layer, and on one with other classes.
        SafetensorsWriter.Write(At("wide.safetensors"), new RandomTensors(TensorType.Float32, 7).Var(Config with { Width = 48 }));
        Refused(() => Over("wide.safetensors", good), "blocks.0.attn.mat_qkv", "(72, 24)", "144");
        SafetensorsWriter.Write(At("flat.safetensors"), new RandomTensors(TensorType.Float32, 7).Var(Config with { Depth = 1 }));
        Refused(() => Over("flat.safetensors", good), "blocks.1.attn.mat_qkv", "no such layer");
        SafetensorsWriter.Write(At("other.safetensors"), new RandomTensors(TensorType.Float32, 8).Var(Config));
        Refused(() => Over("other.safetensors", good), "class_emb", "another model");
    }

    [Theory]
    [InlineData("q,x", 2, "no target 'x'")]
    [InlineData("q,q", 2, "twice")]
    [InlineData("q,qkv", 2, "twice")]
    [InlineData("q", 25, "rank 25")]
    [InlineData("q", 0, "rank 0")]
    public void Options_that_do_not_fit_are_refused(string targets, int rank, string reason) => Assert.Contains(
        reason, Assert.Throws<ArgumentException>(() => new LoraOptions { Targets = targets.Split(','), Rank = rank }.Layers(Config)).Message, StringComparison.Ordinal);

    private string At(string name) => Path.Combine(_folder, name);

    /// <summary>Saves an adapter with random factors; returns the logits of the model without it, and with it under the last class.</summary>
    private float[] SaveAdapter(string folder, LoraOptions options, int seed, out float[] logits)
    {
        using Checkpoint file = Checkpoint.Open(At("var.safetensors"));
        using var network = new VarNetwork(Config, (ulong)seed, file.Root, lora: options);
        VarAdapter adapter = network.Adapter!;
        float[] before = Logits(network, 4);
        var random = new Random(seed);
        foreach (Parameter parameter in adapter.Parameters.All)
        {
            Span<float> values = parameter.Value.Span();
            int width = Config.Width;
            for (int i = 0; i < values.Length; i++)
            {
                bool known = parameter.Name.Contains("class_emb", StringComparison.Ordinal) && i / width is not 5;
                values[i] = known ? values[i] : (random.NextSingle() - 0.5f) * 0.6f;
            }

            adapter.Layers.FirstOrDefault(layer => layer.TensorName('B') == parameter.Name)?.KeepParts(values);
            parameter.Changed();
        }

        logits = Logits(network, options.NewClasses.Count > 0 ? 5 : 4);
        Directory.CreateDirectory(At(folder));
        SafetensorsWriter.Write(At(Path.Combine(folder, LoraAdapter.FileName)), adapter.Parameters.All.Select(p => new TensorSource(
            new TensorInfo(p.Name, [.. p.Shape.Select(size => (long)size)], TensorType.Float32), (start, span) => p.Value.Span(start, span.Length).CopyTo(span))));
        File.WriteAllText(At(Path.Combine(folder, "adapter_model.json")), $$"""{"new_classes": [{{string.Join(',', options.NewClasses.Select(name => $"\"{name}\""))}}]}""");
        adapter.WriteConfig(At(Path.Combine(folder, "adapter_config.json")), "var");
        return before;
    }

    private static float[] Logits(VarNetwork network, int label)
    {
        using var tape = new Tape(KernelSet.Best, recording: false);
        using FloatBuffer input = Input();
        return network.Forward(tape, new[] { label }, input.Matrix(Scales.Tokens - 1, Config.CodeChannels)).Value.Span().ToArray();
    }

    private float[] Logits(WeightedAdapter[] adapters, int label)
    {
        using var files = new AdaptedCheckpoint(Checkpoint.Open(At("var.safetensors")).Root, adapters);
        using VarModel model = VarModel.Load(files.Root, VarConfig.Infer(files.Root), KernelSet.Best);
        using FloatBuffer input = Input();
        using var memory = new FloatBuffer((long)Scales.Tokens * Config.Vocabulary);
        Matrix logits = memory.Matrix(Scales.Tokens, Config.Vocabulary);
        model.Forward([label], input.Matrix(Scales.Tokens - 1, Config.CodeChannels), new ExactAttention(KernelSet.Best), logits);
        return logits.Span().ToArray();
    }

    private static FloatBuffer Input()
    {
        var random = new Random(3);
        return FloatBuffer.Of([.. Enumerable.Range(0, (Scales.Tokens - 1) * Config.CodeChannels).Select(_ => random.NextSingle() - 0.5f)]);
    }

    private void Over(string model, LoraAdapter adapter)
    {
        using Checkpoint file = Checkpoint.Open(At(model));
        using var adapted = new AdaptedCheckpoint(file.Root, [new(adapter, 1)]);
    }

    private void Rewrite(string from, string to, Func<string, long[], long[]?> shape, string? extra = null, (string Old, string New) config = default)
    {
        Directory.CreateDirectory(At(to));
        using (Checkpoint file = Checkpoint.Open(At(Path.Combine(from, LoraAdapter.FileName))))
        {
            List<TensorSource> tensors =
            [
                .. from tensor in file.Tensors.Values
                   let size = shape(tensor.Name, [.. tensor.Shape])
                   where size is not null
                   select new TensorSource(tensor with { Shape = size }, (_, span) => span.Fill(1)),
            ];
            if (extra is not null)
            {
                tensors.Add(new TensorSource(new TensorInfo(extra, [1], TensorType.Float32), (_, span) => span.Fill(1)));
            }

            SafetensorsWriter.Write(At(Path.Combine(to, LoraAdapter.FileName)), tensors);
        }

        string json = File.ReadAllText(At(Path.Combine(from, "adapter_config.json")));
        File.WriteAllText(At(Path.Combine(to, "adapter_config.json")), config.Old is null ? json : json.Replace(config.Old, config.New, StringComparison.Ordinal));
        LoraAdapter.Open(At(to));
    }

    private static void Refused(Action action, params string[] parts)
    {
        string message = Assert.Throws<CheckpointException>(action).Message;
        Assert.All(parts, part => Assert.Contains(part, message, StringComparison.Ordinal));
    }

    private static void AssertClose(float[] expected, float[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        double size = expected.Max(Math.Abs);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(Math.Abs(expected[i] - actual[i]) <= tolerance * size, $"[{i}] is {actual[i]}, expected {expected[i]}");
        }
    }
}
