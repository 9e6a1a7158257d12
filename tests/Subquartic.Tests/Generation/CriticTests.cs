using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Tests.Models;
using Subquartic.Training;

namespace Subquartic.Tests.Generation;

public sealed class CriticTests : IDisposable
{
    private const int Scales = 3;

    private static readonly GenerationRequest Request = new() { Labels = [0, 3, 4, 1, 2], Seed = 11, Guidance = 1, Candidates = 5, Sampling = new() { TopK = 0, TopP = 1 } };

    private readonly SmallModel _small = new();

    private static VarConfig Config => SmallModel.Var;

    public void Dispose() => _small.Dispose();

    [Theory]
    [InlineData(1, 1 << 20)]
    [InlineData(2, 1 << 20)]
    [InlineData(3, 1)]
    public void The_chosen_image_does_not_depend_on_batch_or_threads(int threads, long batchBytes)
    {
        using ImageGenerator generator = Load(threads, batchBytes), other = Load(1, 1 << 20);
        IReadOnlyList<GeneratedImage> batch = generator.Generate(Request).Images;
        Assert.Equal(other.Generate(Request with { Labels = [1], FirstIndex = 3 }).Images.Single().Tokens, batch[3].Tokens);
    }

    /// <summary>Finds the candidates by drawing them, scores them, and expects the one that the rule names, finished.</summary>
    [Fact]
    public void The_critic_chooses_by_score_and_noise_and_the_chosen_candidate_is_finished()
    {
        using ImageGenerator generator = Load(2, 1 << 20);
        using Critic critic = Untrained();
        using var maps = new FloatBuffer((long)Request.Labels.Count * Config.Scales.Last.Tokens * Config.CodeChannels);
        FeatureMap drawn = maps.FeatureMap(Request.Labels.Count, Config.Scales.Last.Height, Config.Scales.Last.Width, Config.CodeChannels);
        IReadOnlyList<GeneratedImage> images = generator.Generate(Request).Images;
        int[] labels = [.. Request.Labels];
        var noisy = new double[Request.Candidates][];
        var first = new int[Request.Candidates][];
        for (int candidate = 0; candidate < Request.Candidates; candidate++)
        {
            var scores = new double[labels.Length];
            int[][] tokens = Begin(candidate, drawn);
            critic.Score(drawn, labels, scores);
            noisy[candidate] = [.. scores.Select((score, image) => Critic.Noisy(score, Request.Candidates, Request.Seed, image, candidate))];
            first[candidate] = [.. tokens.Select(beginning => Hash(beginning))];
        }

        int[] chosen = [.. labels.Select((_, image) => Enumerable.Range(0, Request.Candidates).MaxBy(candidate => noisy[candidate][image]))];
        Assert.True(chosen.Distinct().Count() > 1);
        for (int image = 0; image < labels.Length; image++)
        {
            Assert.Equal(first[chosen[image]][image], Hash([.. images[image].Tokens]));
        }

        Assert.Equal(Hash([.. generator.Generate(Request with { Candidates = 1 }).Images[0].Tokens]), first[0][0]);

        int[][] Begin(int candidate, FeatureMap target)
        {
            using VarModel transformer = _small.LoadTransformer(KernelSet.Create("vector256", 1));
            using ImageGenerator own = Load(1, 1 << 20);
            using PackedMatrix codebook = transformer.Kernels.Pack(own.Autoencoder.Quantizer.Codebook, transposed: true);
            using var batch = new GenerationBatch(
                transformer, own.Autoencoder, null, new Subquartic.Attention.ExactAttention(transformer.Kernels), codebook, labels.Length, 2 * labels.Length);
            var tokens = new int[labels.Length][];
            int[] candidates = [.. Enumerable.Repeat(candidate, labels.Length)];
            batch.DrawMaps(Request, 0, tokens, candidates, Scales, new StageClock(), null, CancellationToken.None).Span().CopyTo(target.Span());
            return tokens;
        }

        // The tokens of the maps that the critic sees.
        static int Hash(int[] tokens)
        {
            var hash = default(HashCode);
            foreach (int token in tokens.Take(Config.Scales.Start(Scales)))
            {
                hash.Add(token);
            }

            return hash.ToHashCode();
        }
    }

    /// <summary>exp(4 / 3 score) over the sum of them for four candidates, counted over many images.</summary>
    [Fact]
    public void Candidates_are_taken_in_proportion_to_their_sharpened_weights()
    {
        double[] weights = [1, 2, 0.5, 4];
        var counts = new int[weights.Length];
        const int images = 20_000;
        for (int image = 0; image < images; image++)
        {
            counts[Enumerable.Range(0, weights.Length).MaxBy(candidate => Critic.Noisy(Math.Log(weights[candidate]) * 3 / 4, weights.Length, 7, image, candidate))]++;
        }

        for (int i = 0; i < weights.Length; i++)
        {
            double share = weights[i] / weights.Sum(), deviation = Math.Sqrt(share * (1 - share) / images);
            Assert.InRange((double)counts[i] / images, share - 4 * deviation, share + 4 * deviation);
        }
    }

    /// <summary>Candidates from a normal distribution, and the weights of one a little to the side: the mean of the chosen moves there, where weights that are not
    /// sharpened leave 1 / K of the way.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    public void The_chosen_have_the_mean_of_the_distribution_that_the_weights_aim_at(int candidates)
    {
        const double shift = 0.2;
        const int images = 100_000;
        double sum = 0;
        var drawn = new double[candidates];
        for (int image = 0; image < images; image++)
        {
            for (int i = 0; i < candidates; i++)
            {
                var random = new RandomStream(3, image, 0, 0, i);
                drawn[i] = Math.Sqrt(-2 * Math.Log(random.Uniform(0))) * Math.Cos(2 * Math.PI * random.Uniform(1));
            }

            sum += drawn[Enumerable.Range(0, candidates).MaxBy(i => Critic.Noisy(shift * drawn[i] - shift * shift / 2, candidates, 3, image, i))];
        }

        // Four standard deviations of the mean, and the terms of second order, which are below shift^3.
        Assert.Equal(shift, sum / images, 4 / Math.Sqrt(images) + shift * shift * shift);
    }

    [Fact]
    public void The_score_is_the_difference_of_two_logits_or_of_two_sums_over_classes()
    {
        float[] logits = [1, -2, 0.5f, 0.25f, 3, -1];
        Assert.Equal(0.75, Critic.LogRatio(logits, 0), 1e-6);
        Assert.Equal(1.5, Critic.LogRatio(logits, 2), 1e-6);
        double all = Math.Log((Math.Exp(1) + Math.Exp(-2) + Math.Exp(0.5)) / (Math.Exp(0.25) + Math.Exp(3) + Math.Exp(-1)));
        Assert.Equal(all, Critic.LogRatio(logits, 3), 1e-6);
        Assert.Throws<ArgumentException>(() => Critic.LogRatio(logits, 4));
    }

    [Fact]
    public void Requests_and_critics_that_do_not_fit_are_refused()
    {
        using ImageGenerator with = Load(1, 1 << 20), without = _small.LoadGenerator(KernelSet.Create("vector256", 1));
        Assert.Contains("only by a model with a critic", Assert.Throws<ArgumentException>(() => without.Generate(Request)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => with.Generate(Request with { Candidates = 0 }));
        Assert.Throws<ArgumentException>(() => with.Generate(Request with { Candidates = GenerationRequest.MaxCandidates + 1 }));
        Assert.Throws<ArgumentException>(() => with.Generate(Request with { RecordedNoise = new Matrix(new FloatBuffer(1), 0, 1, 1, 1) }));
        Assert.Contains("knows 3", Assert.Throws<ArgumentException>(() => _small.LoadGenerator(KernelSet.Create("vector256", 1), critic: Untrained(classes: 3))).Message, StringComparison.Ordinal);
        using var network = new CriticNetwork(4, Config.CodeChannels, 1);
        Assert.Throws<ArgumentOutOfRangeException>(() => new Critic(network, Config.Scales, Config.Scales.Count, KernelSet.Best));
        Assert.Throws<ArgumentOutOfRangeException>(() => new Critic(network, Config.Scales, 0, KernelSet.Best));
    }

    [Theory]
    [InlineData("""{"scales":4,"candidates":2}""", 4, "scales", "1 to 3")]
    [InlineData("""{"scales":0,"candidates":2}""", 4, "scales", "1 to 3")]
    [InlineData("""{"candidates":2}""", 4, "scales", "1 to 3")]
    [InlineData("""{"scales":2,"candidates":65}""", 4, "candidates", "1 to 64")]
    [InlineData("""{"scales":2.5,"candidates":1}""", 4, "scales", "2.5")]
    [InlineData("""{"scales":2,"candidates":2}""", 3, "head.weight", "8 rows")]
    [InlineData(null, 4, "", "JSON file")]
    public void A_file_that_is_no_critic_of_the_model_is_refused(string? json, int classes, string field, string words)
    {
        string folder = Directory.CreateTempSubdirectory("subquartic-critic").FullName, path = Path.Combine(folder, Critic.FileName);
        try
        {
            using (var network = new CriticNetwork(classes, Config.CodeChannels, 1))
            {
                Save(network, path);
            }

            if (json is not null)
            {
                File.WriteAllText(Path.ChangeExtension(path, ".json"), json);
            }

            string message = Assert.Throws<CheckpointException>(() => CriticFile.Open(path, Config)).Message;
            Assert.Contains(field, message, StringComparison.Ordinal);
            Assert.Contains(words, message, StringComparison.Ordinal);
            File.WriteAllText(Path.ChangeExtension(path, ".json"), """{"scales":2,"candidates":3}""");
            using (var network = new CriticNetwork(Config.Classes, Config.CodeChannels + 1, 1))
            {
                Save(network, path);
            }

            using CriticFile file = CriticFile.Open(path, Config);
            Assert.Equal(3, file.Candidates);
            Assert.Contains("units.0.conv.weight", Assert.Throws<CheckpointException>(() => file.Load(KernelSet.Best)).Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Save(CriticNetwork network, string path) => SafetensorsWriter.Write(
        path,
        [.. network.Parameters.All.Select(p => new TensorSource(
            new TensorInfo(p.Name, [.. p.Shape.Select(size => (long)size)], TensorType.Float32), (start, span) => p.Value.Span(start, span.Length).CopyTo(span)))]);

    private static Critic Untrained(int classes = 4) =>
        new(new CriticNetwork(classes, Config.CodeChannels, 9), Config.Scales, Scales, KernelSet.Create("vector256", 1));

    private ImageGenerator Load(int threads, long batchBytes) =>
        _small.LoadGenerator(KernelSet.Create("vector256", threads), batchBytes: batchBytes, critic: Untrained());
}
