using Subquartic.Adapters;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;
using Subquartic.Training.Data;
using Subquartic.Training.Operations;

namespace Subquartic.Tests.Training;

public sealed class TrainerTests : IDisposable
{
    private static readonly VarConfig TransformerConfig = SmallModels.Transformer;
    private static readonly ScaleSchedule Scales = TransformerConfig.Scales;
    private static readonly VqVaeConfig AutoencoderConfig = SmallModels.Autoencoder;

    private readonly string _folder = Directory.CreateTempSubdirectory("subquartic-training").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Resumed_training_of_the_autoencoder_ends_with_the_same_bits_and_the_loss_falls()
    {
        (byte[] through, double first, double last) = Run(AutoencoderTrainer, 24, resumeAt: 0);
        (byte[] resumed, _, _) = Run(AutoencoderTrainer, 24, resumeAt: 5);
        Assert.True(last < first, $"the loss went from {first} to {last}");
        Assert.Equal(through, resumed);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Resumed_training_of_the_transformer_ends_with_the_same_bits_and_the_loss_falls(bool muon)
    {
        using VqVae autoencoder = SavedAutoencoder();
        MuonOptions? matrices = muon ? new MuonOptions() : null;
        (byte[] through, double first, double last) = Run(threads => TransformerTrainer(autoencoder, threads, matrices), 24, resumeAt: 0);
        (byte[] resumed, _, _) = Run(threads => TransformerTrainer(autoencoder, threads, matrices), 24, resumeAt: 5);
        Assert.True(last < first, $"the loss went from {first} to {last}");
        Assert.Equal(through, resumed);
    }

    [Fact]
    public void Most_steps_may_show_the_first_scales_only()
    {
        using VqVae autoencoder = SavedAutoencoder();
        Trainer Create(int threads) => new VarTrainer(
            new VarNetwork(TransformerConfig, 1), autoencoder, Sixteen, Options, KernelSet.Create(KernelSet.Best.Name, threads), firstScales: 2, fullEvery: 3);
        byte[] through = Run(Create, 7, resumeAt: 0).Model;
        Assert.Equal(through, Run(Create, 7, resumeAt: 5).Model);
        using Trainer trainer = Create(1);
        Assert.Equal([2, 2, 3, 2, 2, 3], Enumerable.Range(0, 6).Select(_ => trainer.TakeStep().PerScale.Count));
        Assert.Throws<ArgumentOutOfRangeException>(() => new VarTrainer(
            new VarNetwork(TransformerConfig, 1), autoencoder, Sixteen, Options, KernelSet.Best, firstScales: 4, fullEvery: 3));
    }

    [Fact]
    public void A_model_that_sees_its_own_draws_trains_on_other_tokens_and_resumes_with_the_same_bits()
    {
        using VqVae autoencoder = SavedAutoencoder();
        Trainer Create(int threads, double share) => new VarTrainer(
            new VarNetwork(TransformerConfig, 1), autoencoder, Sixteen, Options, KernelSet.Create(KernelSet.Best.Name, threads), selfCorrection: share);
        (byte[] through, double first, double last) = Run(threads => Create(threads, 0.5), 24, resumeAt: 0);
        Assert.True(last < first, $"the loss went from {first} to {last}");
        Assert.Equal(through, Run(threads => Create(threads, 0.5), 24, resumeAt: 5).Model);
        Assert.NotEqual(through, Run(threads => Create(threads, 0), 24, resumeAt: 0).Model);
        using Trainer with = Create(2, 0.5), without = Create(2, 0);
        string state = Path.Combine(_folder, "other.safetensors");
        without.SaveState(state);
        Assert.Throws<CheckpointException>(() => with.LoadState(state));
    }

    [Fact]
    public void A_model_that_sees_earlier_passes_trains_on_the_other_tokens_and_resumes_with_the_same_bits()
    {
        using VqVae autoencoder = SavedAutoencoder();
        Trainer Create(int threads, int passes) => new VarTrainer(
            new VarNetwork(TransformerConfig, 1), autoencoder, Sixteen, Options, KernelSet.Create(KernelSet.Best.Name, threads), selfCorrection: 0.3, passes: passes);
        (byte[] through, double first, double last) = Run(threads => Create(threads, 4), 24, resumeAt: 0);
        Assert.True(last < first, $"the loss went from {first} to {last}");
        Assert.Equal(through, Run(threads => Create(threads, 4), 24, resumeAt: 5).Model);
        Assert.NotEqual(through, Run(threads => Create(threads, 1), 24, resumeAt: 0).Model);
        using Trainer with = Create(2, 4), without = Create(2, 1);
        string state = Path.Combine(_folder, "other.safetensors");
        without.SaveState(state);
        Assert.Throws<CheckpointException>(() => with.LoadState(state));
        Assert.Throws<ArgumentOutOfRangeException>(() => Create(1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Create(1, SamplingOptions.MaxPasses + 1));
    }

    /// <summary>The second pass over a map, as a generation makes it, gives the logits that the network gives with the same tokens known.</summary>
    [Fact]
    public void A_pass_that_sees_tokens_is_the_one_that_is_trained()
    {
        string path = Path.Combine(_folder, "var.safetensors");
        using VqVae autoencoder = SavedAutoencoder();
        using (var trainer = new VarTrainer(new VarNetwork(TransformerConfig, 3), autoencoder, Sixteen, Options, KernelSet.Best))
        {
            trainer.TakeStep();
            trainer.SaveModel(path);
        }

        using Checkpoint file = Checkpoint.Open(path);
        using VarModel model = VarModel.Load(file.Root, TransformerConfig, KernelSet.Best);
        using var network = new VarNetwork(TransformerConfig, 0, file.Root);
        using var tape = new Tape(KernelSet.Best, recording: false);
        int[] labels = [4, 16];
        int inputs = Scales.Tokens - 1, channels = TransformerConfig.CodeChannels;
        Matrix input = tape.Take(2 * inputs, channels);
        var random = new Random(2);
        bool[] known = new bool[2 * Scales.Tokens];
        foreach (ref float value in input.Span())
        {
            value = (float)random.NextDouble();
        }

        int[] order = Scales[2].PassesOf(4);
        for (int token = 0; token < order.Length; token++)
        {
            known[Scales.Start(2) + token] = known[Scales.Tokens + Scales.Start(2) + token] = order[token] < 2;
        }

        Matrix expected = network.Forward(tape, labels, input, null, known).Value;
        using VarRun run = model.CreateRun(new ExactAttention(KernelSet.Best), 2);
        run.Begin(labels, guided: false);
        run.Step(default);
        Matrix second = tape.Take(2 * 4, channels), third = tape.Take(2 * 16, channels);
        for (int b = 0; b < 2; b++)
        {
            input.SliceRows(b * inputs, 4).Span().CopyTo(second.SliceRows(b * 4, 4).Span());
            input.SliceRows(b * inputs + 4, 16).Span().CopyTo(third.SliceRows(b * 16, 16).Span());
        }

        run.Step(second);
        float[] independent = run.Step(third).Span().ToArray();
        Matrix actual = run.StepAgain(third, [.. order.Select(pass => pass < 2)]);
        for (int b = 0; b < 2; b++)
        {
            AssertClose(expected.SliceRows(b * Scales.Tokens + Scales.Start(2), 16).Span(), actual.SliceRows(b * 16, 16).Span());
        }

        Assert.NotEqual(independent, actual.Span().ToArray());
        Assert.Throws<ArgumentException>(() => run.StepAgain(third, new bool[15]));
        run.Begin(labels, guided: false);
        run.Step(default);
        Assert.Throws<InvalidOperationException>(() => run.StepAgain(default, new bool[1]));
    }

    [Fact]
    public void Logits_of_the_first_scales_do_not_need_the_others()
    {
        using var network = new VarNetwork(TransformerConfig, 3);
        using var tape = new Tape(KernelSet.Best, recording: false);
        int[] labels = [3, 16];
        int all = Scales.Tokens - 1, first = Scales.Start(2) - 1, channels = TransformerConfig.CodeChannels;
        Matrix input = tape.Take(2 * all, channels), start = tape.Take(2 * first, channels);
        var random = new Random(1);
        for (int row = 0; row < input.Rows; row++)
        {
            foreach (ref float value in input.Row(row))
            {
                value = (float)random.NextDouble();
            }

            if (row % all < first)
            {
                input.Row(row).CopyTo(start.Row(row / all * first + row % all));
            }
        }

        Matrix expected = network.Forward(tape, labels, input).Value;
        Matrix actual = network.Forward(tape, labels, start, ScaleSchedule.Square(1, 2)).Value;
        Assert.Equal(2 * Scales.Start(2), actual.Rows);
        for (int row = 0; row < actual.Rows; row++)
        {
            AssertClose(expected.Row(row / Scales.Start(2) * Scales.Tokens + row % Scales.Start(2)), actual.Row(row));
        }
    }

    [Fact]
    public void Resumed_training_of_an_adapter_ends_with_the_same_bits_and_changes_nothing_else()
    {
        using VqVae autoencoder = SavedAutoencoder();
        string model = Path.Combine(_folder, "var.safetensors");
        using (VarTrainer trainer = TransformerTrainer(autoencoder, 2))
        {
            trainer.SaveModel(model);
        }

        using Checkpoint file = Checkpoint.Open(model);
        var lora = new LoraOptions { Targets = ["q", "v", "fc1", "adaln"], NewClasses = ["rocket"] };
        var pictures = new AdapterDataset(Sixteen, 15, [.. Sixteen.Classes.Take(15)], []);
        Assert.Equal((16, "umbrella"), (pictures.Classes.Count, Assert.Single(pictures.NewClasses)));
        VarNetwork? network = null;
        Trainer Create(int threads) => new VarTrainer(
            network = new VarNetwork(TransformerConfig, 1, file.Root, lora: lora), autoencoder, Sixteen, Options with { AverageDecay = 0 },
            KernelSet.Create(KernelSet.Best.Name, threads));
        (byte[] through, double first, double last) = Run(Create, 24, resumeAt: 0);
        Assert.True(last < first, $"the loss went from {first} to {last}");
        Assert.Equal(through, Run(Create, 24, resumeAt: 5).Model);

        using Checkpoint saved = Checkpoint.Open(Path.Combine(_folder, "model.safetensors"));
        Assert.All(saved.Tensors.Keys, name => Assert.StartsWith(LoraAdapter.Prefix, name, StringComparison.Ordinal));
        var table = new float[18 * 24];
        saved.Read($"{LoraAdapter.Prefix}class_emb.weight", table);
        var known = new float[17 * 24];
        file.Read("class_emb.weight", known);
        Assert.Equal(known[..(16 * 24)], table[..(16 * 24)]);
        Assert.Equal(known[(16 * 24)..], table[(17 * 24)..]);

        // Nothing of the sixteen pictures has the new class, so its row has not moved either; the frozen weights never do.
        using Trainer fresh = Create(1);
        fresh.TakeStep();
        foreach (Parameter parameter in network!.Parameters.All)
        {
            var stored = new float[parameter.Value.Length];
            file.Read(parameter.Name, stored);
            Assert.Equal(stored, parameter.Value.Span().ToArray());
        }
    }

    [Fact]
    public void Resumed_training_of_the_classifier_ends_with_the_same_bits_and_the_loss_falls()
    {
        ClassifierTrainer Create(int threads) => new(new ClassifierNetwork(16, 1), Sixteen, Options, KernelSet.Create(KernelSet.Best.Name, threads));
        (byte[] through, double first, double last) = Run(Create, 24, resumeAt: 0);
        (byte[] resumed, _, _) = Run(Create, 24, resumeAt: 5);
        Assert.True(last < first, $"the loss went from {first} to {last}");
        Assert.Equal(through, resumed);
    }

    [Fact]
    public void What_is_trained_is_what_is_run()
    {
        using var trainer = AutoencoderTrainer(2);
        trainer.TakeStep();
        string path = Path.Combine(_folder, "vae.safetensors");
        trainer.SaveModel(path);
        using Checkpoint file = Checkpoint.Open(path);
        using VqVae model = VqVae.Load(file.Root, AutoencoderConfig, Scales, KernelSet.Best, withEncoder: true);
        using var network = new VqVaeNetwork(AutoencoderConfig, Scales, 1, file.Root);
        using var tape = new Tape(KernelSet.Best, recording: false);
        Variable image = tape.NewMap(1, 16, 16, 3, false);
        var random = new Random(1);
        foreach (ref float value in image.Value.Span())
        {
            value = (float)(2 * random.NextDouble() - 1);
        }

        var attention = new ExactAttention(KernelSet.Best);
        using var buffer = new FloatBuffer(4 * 4 * 8 + 4 * 4 * 8 + 16 * 16 * 3);
        FeatureMap f = buffer.FeatureMap(1, 4, 4, 8);
        FeatureMap fHat = buffer.FeatureMap(1, 4, 4, 8, 128);
        FeatureMap picture = buffer.FeatureMap(1, 16, 16, 3, 256);
        var tokens = new int[Scales.Tokens];
        model.Encode(image.Map, f, attention);
        model.Quantizer.Quantize(f, tokens, fHat);
        model.Decode(fHat, picture, attention);
        Variable encoded = network.Encode(tape, image);
        Quantized quantized = network.Quantize(tape, encoded, 0.25);
        Variable decoded = network.Decode(tape, quantized.FHat);
        AssertClose(f.Span(), encoded.Value.Span());
        Assert.Equal(tokens, quantized.Tokens);
        AssertClose(fHat.Span(), quantized.FHat.Value.Span());
        AssertClose(picture.Span(), decoded.Value.Span());
    }

    [Fact]
    public void Blocks_that_are_added_change_nothing_before_they_learn_and_then_they_do()
    {
        string path = Path.Combine(_folder, "var.safetensors");
        using VqVae autoencoder = SavedAutoencoder();
        using (VarTrainer trainer = TransformerTrainer(autoencoder, 1))
        {
            trainer.TakeStep();
            trainer.SaveModel(path);
        }

        using Checkpoint file = Checkpoint.Open(path);
        using var network = new VarNetwork(TransformerConfig, 1, file.Root);
        VarConfig deeper = TransformerConfig with { Depth = 5 };
        var grown = new VarNetwork(deeper, 2, file.Root);
        Assert.Equal(Values(network, "blocks.1.attn.mat_qkv.weight"), Values(grown, "blocks.4.attn.mat_qkv.weight"));
        Assert.Equal(Values(network, "blocks.0.ada_gss"), Values(grown, "blocks.3.ada_gss"));
        using var tape = new Tape(KernelSet.Best, recording: false);
        Matrix input = tape.Take(Scales.Tokens - 1, TransformerConfig.CodeChannels);
        var random = new Random(3);
        foreach (ref float value in input.Span())
        {
            value = (float)random.NextDouble();
        }

        Assert.Equal(network.Forward(tape, new[] { 4 }, input).Value.Span().ToArray(), grown.Forward(tape, new[] { 4 }, input).Value.Span().ToArray());
        using var further = new VarTrainer(grown, autoencoder, Sixteen, Options, KernelSet.Best);
        further.TakeStep();
        Assert.Contains(Values(grown, "blocks.3.ffn.fc2.weight"), value => value != 0);
        Assert.Contains(Values(grown, "blocks.4.attn.proj.weight"), value => value != 0);

        static float[] Values(VarNetwork network, string name) => network.Parameters.All.Single(p => p.Name == name).Value.Span().ToArray();
    }

    [Theory]
    [InlineData(true, true, null)]
    [InlineData(false, false, null)]
    [InlineData(true, false, 100f)]
    public void The_transformer_that_is_trained_is_the_one_that_is_run(bool normalized, bool shared, float? ropeBase)
    {
        VarConfig config = TransformerConfig with { AttentionL2Norm = normalized, SharedAdaLn = shared, RopeBase = ropeBase };
        using VqVae autoencoder = SavedAutoencoder();
        using var trainer = new VarTrainer(new VarNetwork(config, 3), autoencoder, Sixteen, Options, KernelSet.Best);
        trainer.TakeStep();
        string path = Path.Combine(_folder, "var.safetensors");
        trainer.SaveModel(path);
        using Checkpoint file = Checkpoint.Open(path);
        Assert.Equal(config with { Scales = Scales }, VarConfig.Infer(file.Root) with { Scales = Scales });
        using VarModel model = VarModel.Load(file.Root, config, KernelSet.Best);
        using var network = new VarNetwork(config, 0, file.Root);
        using var tape = new Tape(KernelSet.Best, recording: false);
        int[] labels = [4, 16];
        using var buffer = new FloatBuffer(2L * (Scales.Tokens - 1) * 8 + 2L * Scales.Tokens * 24);
        Matrix input = buffer.Matrix(2 * (Scales.Tokens - 1), 8);
        Matrix logits = buffer.Matrix(2 * Scales.Tokens, 24, 2L * (Scales.Tokens - 1) * 8);
        var random = new Random(2);
        foreach (ref float value in input.Span())
        {
            value = (float)random.NextDouble();
        }

        model.Forward(labels, input, new ExactAttention(KernelSet.Best), logits);
        AssertClose(logits.Span(), network.Forward(tape, labels, input).Value.Span());
    }

    [Fact]
    public void Codes_that_nothing_is_near_come_back_where_pictures_are()
    {
        string path = Path.Combine(_folder, "vae.safetensors");
        using (VqVaeTrainer trained = AutoencoderTrainer(2))
        {
            trained.SaveModel(path);
        }

        using Checkpoint file = Checkpoint.Open(path);
        var network = new VqVaeNetwork(AutoencoderConfig, Scales, 1, file.Root);
        Matrix codes = network.Codebook.Matrix;
        codes.SliceRows(12, 12).Span().Fill(1000);
        network.Codebook.Changed();
        using var trainer = new VqVaeTrainer(network, Sixteen, Options with { Steps = 1000 }, KernelSet.Best);
        for (int step = 0; step < 100; step++)
        {
            trainer.TakeStep();
        }

        Assert.All(codes.Span().ToArray(), value => Assert.InRange(value, -100, 100));
    }

    [Fact]
    public void A_state_of_another_training_is_refused()
    {
        string path = Path.Combine(_folder, "state.safetensors");
        using (VqVaeTrainer trainer = AutoencoderTrainer(1))
        {
            trainer.SaveState(path);
        }

        using var other = new VqVaeTrainer(
            new VqVaeNetwork(AutoencoderConfig, Scales, 1), Sixteen, Options with { LearningRate = 2e-3 }, KernelSet.Best);
        Assert.Contains("other settings", Assert.Throws<CheckpointException>(() => other.LoadState(path)).Message, StringComparison.Ordinal);
        string model = Path.Combine(_folder, "model.safetensors");
        other.SaveModel(model);
        Assert.Contains("not a training state", Assert.Throws<CheckpointException>(() => other.LoadState(model)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_state_of_other_data_or_another_autoencoder_is_refused()
    {
        string path = Path.Combine(_folder, "state.safetensors");
        using VqVae autoencoder = SavedAutoencoder();
        using (VarTrainer trainer = TransformerTrainer(autoencoder, 1))
        {
            trainer.SaveState(path);
        }

        var more = new IconDataset(IconSplit.Training, perClass: 2, size: 16);
        using var otherData = new VarTrainer(new VarNetwork(TransformerConfig, 1), autoencoder, more, Options, KernelSet.Best);
        Assert.Contains("other settings", Assert.Throws<CheckpointException>(() => otherData.LoadState(path)).Message, StringComparison.Ordinal);
        autoencoder.Quantizer.Codebook.Span()[5] += 1;
        using VarTrainer otherTokens = TransformerTrainer(autoencoder, 1);
        Assert.Contains("other settings", Assert.Throws<CheckpointException>(() => otherTokens.LoadState(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_trained_codebook_survives_the_first_step_of_another_training()
    {
        string path = Path.Combine(_folder, "vae.safetensors");
        using (VqVaeTrainer first = AutoencoderTrainer(2))
        {
            first.TakeStep();
            first.SaveModel(path);
        }

        using Checkpoint file = Checkpoint.Open(path);
        var network = new VqVaeNetwork(AutoencoderConfig, Scales, 1, file.Root);
        using var trainer = new VqVaeTrainer(network, Sixteen, Options with { LearningRate = 1e-9, Seed = 6 }, KernelSet.Best);
        float[] before = network.Codebook.Value.Span().ToArray();
        trainer.TakeStep();
        AssertClose(before, network.Codebook.Value.Span());
    }

    [Fact]
    public void A_state_is_not_taken_for_a_model()
    {
        string path = Path.Combine(_folder, "state.safetensors");
        using VqVae autoencoder = SavedAutoencoder();
        using VarTrainer trainer = TransformerTrainer(autoencoder, 1);
        trainer.SaveState(path);
        using Checkpoint state = Checkpoint.Open(path);
        Assert.Empty(ModelFiles.FindVar(state));
    }

    [Fact]
    public void A_saved_model_keeps_the_bound_on_attention_factors_even_as_float16()
    {
        const double bound = 2;
        using VqVae autoencoder = SavedAutoencoder();
        using var network = new VarNetwork(TransformerConfig, 1, maxAttentionScale: bound);
        Parameter[] factors = [.. network.Parameters.All.Where(parameter => parameter.Name.EndsWith("scale_mul_1H11", StringComparison.Ordinal))];
        Assert.Equal(TransformerConfig.Depth, factors.Length);
        using var trainer = new VarTrainer(network, autoencoder, Sixteen, Options with { AverageDecay = 0 }, KernelSet.Best);
        foreach (Parameter factor in factors)
        {
            factor.Value.Span().Fill(1); // beyond log 2, as a large step would take it
        }

        trainer.TakeStep();
        string path = Path.Combine(_folder, "var.safetensors");
        trainer.SaveModel(path, TensorType.Float16);
        using Checkpoint file = Checkpoint.Open(path);
        foreach (Parameter factor in factors)
        {
            var stored = new float[TransformerConfig.Heads];
            file.Read(factor.Name, stored);
            Assert.All(stored, value => Assert.InRange(Math.Exp(value), 0, bound));
        }
    }

    private static IconDataset Sixteen => SmallModels.Pictures;

    private static TrainingOptions Options => SmallModels.Training;

    private static VqVaeTrainer AutoencoderTrainer(int threads) => new(
        new VqVaeNetwork(AutoencoderConfig, Scales, 1), Sixteen, Options, KernelSet.Create(KernelSet.Best.Name, threads));

    private static VarTrainer TransformerTrainer(VqVae autoencoder, int threads, MuonOptions? muon = null) => new(
        new VarNetwork(TransformerConfig, 1), autoencoder, Sixteen, Options with { Muon = muon }, KernelSet.Create(KernelSet.Best.Name, threads));

    private VqVae SavedAutoencoder()
    {
        string path = Path.Combine(_folder, "vae.safetensors");
        using VqVaeTrainer trainer = AutoencoderTrainer(2);
        trainer.SaveModel(path);
        using Checkpoint file = Checkpoint.Open(path);
        return VqVae.Load(file.Root, AutoencoderConfig, Scales, KernelSet.Best, withEncoder: true);
    }

    private (byte[] Model, double First, double Last) Run(Func<int, Trainer> create, int steps, int resumeAt) => SmallModels.Train(_folder, create, steps, resumeAt);

    private static void AssertClose(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], actual[i], 1e-4f); // the same arithmetic in another order: a dozen layers of float32 rounding
        }
    }
}
