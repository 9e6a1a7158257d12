using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;
using Subquartic.Training.Data;

namespace Subquartic.Tests.Training;

public sealed class DecoderTrainerTests : IDisposable
{
    private static readonly ScaleSchedule Scales = SmallModels.Transformer.Scales;
    private static readonly SamplingDefaults Unguided = new() { Guidance = 1 };

    private readonly string _folder = Directory.CreateTempSubdirectory("subquartic-decoder").FullName;
    private readonly ClassifierNetwork _judge = SmallModels.Judge(1);
    private readonly ImageGenerator _generator;
    private readonly Checkpoint _start;

    public DecoderTrainerTests()
    {
        SmallModels.Save(_folder);
        _generator = ImageGenerator.Load(_folder, new GeneratorOptions { WithEncoder = true });
        _start = Checkpoint.Open(Path.Combine(_folder, "vae.safetensors"));
    }

    public void Dispose()
    {
        _start.Dispose();
        _generator.Dispose();
        _judge.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void A_decoder_learns_what_is_drawn_while_tokens_keep_their_meaning()
    {
        (byte[] through, double first, double last) = Run(0.3, Unguided, 24);
        Assert.True(last < first, $"the loss went from {first} to {last}");
        Assert.Equal(through, Run(0.3, Unguided, 24, resumeAt: 5).Model);
        using Checkpoint saved = Checkpoint.Open(Path.Combine(_folder, "model.safetensors"));
        Assert.Equal(_start.Tensors.Keys.Order(), saved.Tensors.Keys.Order());
        foreach (string name in _start.Tensors.Keys)
        {
            float[] before = Read(_start), after = Read(saved);
            Assert.Equal(name.StartsWith("decoder.", StringComparison.Ordinal) || name.StartsWith("post_quant_conv.", StringComparison.Ordinal), !before.SequenceEqual(after));

            float[] Read(Checkpoint file)
            {
                var values = new float[file.Tensors[name].Length];
                file.Read(name, values);
                return values;
            }
        }

        // With true maps only, nothing that is drawn matters.
        Assert.Equal(Run(1, Unguided, 3).Model, Run(1, Unguided with { Guidance = 2 }, 3).Model);
        Assert.NotEqual(Run(0, Unguided, 3).Model, Run(0, Unguided with { Guidance = 2 }, 3).Model);
        Assert.Throws<ArgumentOutOfRangeException>(() => new DecoderTrainer(
            new VqVaeNetwork(SmallModels.Autoencoder, Scales, 1, _start.Root), _generator, SmallModels.Pictures, SmallModels.Training, KernelSet.Best, 4, Unguided));
    }

    /// <summary>All real pictures are the same here, since a transformer with random weights draws the same of every class. With a weight next to nothing the means do not follow.</summary>
    [Fact]
    public void With_feature_matching_the_means_of_drawn_pictures_come_nearer_to_those_of_real_ones()
    {
        double[] matched = Distances(0.3), unmatched = Distances(1e-6);
        Assert.All(matched[..9], value => Assert.Equal(0, value)); // not enough pictures of a class yet
        Assert.InRange(matched[9], 0.999 * unmatched[9], 1.001 * unmatched[9]);
        Assert.True(matched[^1] < 0.6 * unmatched[^1], $"matched {matched[^1]}, otherwise {unmatched[^1]}");

        double[] Distances(double weight)
        {
            using DecoderTrainer trainer = Create(2, 1, Unguided, weight, new OnePicture());
            return [.. Enumerable.Range(0, 25).Select(_ => trainer.TakeStep().Measures["matching"] / weight)];
        }
    }

    [Fact]
    public void Feature_matching_resumes_with_the_same_bits_and_refuses_a_state_without_it()
    {
        byte[] through = Run(1, Unguided, 18, match: 3).Model;
        Assert.Equal(through, Run(1, Unguided, 18, resumeAt: 13, match: 3).Model);
        Assert.NotEqual(through, Run(1, Unguided, 18).Model);
        Assert.NotEqual(through, Run(1, Unguided with { Guidance = 2 }, 18, match: 3).Model);
        string state = Path.Combine(_folder, "state.tmp");
        using Trainer with = Create(1, 1, Unguided, match: 3), without = Create(1, 1, Unguided), other = Create(1, 1, Unguided, match: 4);
        without.SaveState(state);
        Assert.Throws<CheckpointException>(() => with.LoadState(state));
        with.SaveState(state);
        Assert.Throws<CheckpointException>(() => other.LoadState(state));
    }

    /// <summary>What is kept is bounded: once the ring is full, the latest pictures are in it, under their own classes, whatever the number of classes.</summary>
    [Theory]
    [InlineData(16, 1, 7)]
    [InlineData(7, 1, 7)]
    [InlineData(7, 4, 9)]
    [InlineData(16, 5, 9)]
    public void The_latest_drawn_maps_are_kept_under_their_classes(int classes, int drawFirst, int rounds)
    {
        const int batch = 5, room = 3, steps = 14;
        long bytes = room * batch * Scales.Last.Tokens * SmallModels.Transformer.CodeChannels * sizeof(float);
        using var maps = new DrawnMaps(_generator, Unguided, new TrainingOptions { Batch = batch, Steps = steps, Seed = 3 }, classes, Scales.Count, drawEvery: 2, drawFirst, bytes);
        Assert.Equal(bytes / sizeof(float), maps.Values.Length);
        using var buffer = new FloatBuffer(batch * maps.Values.Length / (room * batch));
        FeatureMap shown = buffer.FeatureMap(batch, Scales.Last.Height, Scales.Last.Width, SmallModels.Transformer.CodeChannels);
        var drawn = new List<(int Label, float[] Map)>();
        var random = new Random(1);
        for (int step = 0; step < steps; step++)
        {
            var labels = new int[batch];
            double[] uniform = [.. labels.Select((_, b) => b == 0 ? 0.999999 : random.NextDouble())];
            maps.Read(step, b => uniform[b], shown, labels);
            Assert.Equal(step < drawFirst || step % 2 == 0, maps.IsNew(step));
            if (maps.IsNew(step))
            {
                Assert.Equal(Enumerable.Range(drawn.Count, batch).Select(i => i % classes), labels);
                drawn.AddRange(labels.Select((label, b) => (label, shown.Image(b).Span().ToArray())));
                continue;
            }

            (int Label, float[] Map)[] kept = [.. drawn.TakeLast(room * batch)];
            for (int b = 0; b < batch; b++)
            {
                float[] map = shown.Image(b).Span().ToArray();
                Assert.Contains(kept, other => other.Label == labels[b] && other.Map.AsSpan().SequenceEqual(map));
            }
        }

        Assert.Equal(rounds * batch, drawn.Select(d => string.Join(' ', d.Map)).Distinct().Count());
    }

    private DecoderTrainer Create(int threads, double trueShare, SamplingDefaults sampling, double match = 0, IImageDataset? data = null) => new(
        new VqVaeNetwork(SmallModels.Autoencoder, Scales, 1, _start.Root), _generator, data ?? SmallModels.Pictures, SmallModels.Training, KernelSet.Create(KernelSet.Best.Name, threads),
        drawnScales: 2, sampling, trueShare, matching: match > 0 ? new FeatureMatching([_judge], match, 16, window: 10) : null, drawEvery: 4);

    private (byte[] Model, double First, double Last) Run(double trueShare, SamplingDefaults sampling, int steps, int resumeAt = 0, double match = 0) =>
        SmallModels.Train(_folder, threads => Create(threads, trueShare, sampling, match), steps, resumeAt);

    private sealed class OnePicture : IImageDataset
    {
        public long Count => 16;

        public IReadOnlyList<string> Classes => SmallModels.Pictures.Classes;

        public int Height => 16;

        public int Width => 16;

        public int Read(long index, Span<byte> rgb)
        {
            SmallModels.Pictures.Read(0, rgb);
            return (int)index;
        }
    }
}
