using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Tests.Kernels;

namespace Subquartic.Tests.Models;

public sealed class MultiScaleQuantizerTests
{
    private const int Channels = 5;
    private const int Vocabulary = 37;

    // Rectangular on purpose: every height differs from its width from the second scale on.
    private static readonly ScaleSchedule Scales = new(new(1, 1), new(2, 3), new(3, 5), new(4, 7));

    private static readonly KernelSet Kernels = Sets.Get("vector256", 1);

    public static TheoryData<string> KernelNames => new(KernelSet.Available);

    [Fact]
    public void Ten_scales_share_four_phi_as_in_the_released_models()
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 4, scales: ScaleSchedule.Var256);

        // Scales 2 and 7 are ties that rounding decides in the reference.
        Assert.Equal([0, 0, 1, 1, 1, 2, 2, 3, 3, 3], Enumerable.Range(0, 10).Select(quantizer.PhiIndex));
    }

    [Theory]
    [InlineData(0, new[] { 0, 1, 2, 3 })]
    [InlineData(1, new[] { 0, 0, 0, 0 })]
    [InlineData(2, new[] { 0, 0, 1, 1 })]
    [InlineData(3, new[] { 0, 0, 1, 2 })]
    public void Phi_follow_the_position_of_the_scale(int sharedPhi, int[] expected)
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi);
        Assert.Equal(expected, Enumerable.Range(0, 4).Select(quantizer.PhiIndex));
    }

    [Fact]
    public void A_single_scale_uses_the_first_phi()
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 4, scales: new ScaleSchedule(new TokenMapSize(2, 2)));
        Assert.Equal(0, quantizer.PhiIndex(0));
    }

    [Theory]
    [MemberData(nameof(KernelNames))]
    public void Accumulate_adds_the_mixed_convolution_of_the_enlarged_codes(string kernels)
    {
        MemoryCheckpoint tensors = Tensors(sharedPhi: 0, Scales);
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 0, kernels: Sets.Get(kernels, 1));
        using var buffer = new FloatBuffer(Scales.Last.Tokens * Channels);
        FeatureMap fHat = buffer.FeatureMap(1, Scales.Last.Height, Scales.Last.Width, Channels);
        var expected = new double[buffer.Length];
        var magnitude = new double[buffer.Length];
        for (int k = 0; k < Scales.Count; k++)
        {
            int[] tokens = Tokens(1, k);
            quantizer.Accumulate(tokens, k, fHat);
            AccumulateInDouble(tensors, tokens, k, expected, magnitude);
        }

        for (int i = 0; i < expected.Length; i++)
        {
            // Each scale rounds 9 C products and sums, the scaled weights and the enlarged map: at most 9 C + 4 half units of the
            // sum of magnitudes.
            Assert.InRange(buffer.Span()[i] - expected[i], -(9 * Channels + 4) * magnitude[i] / (1 << 24), (9 * Channels + 4) * magnitude[i] / (1 << 24));
        }
    }

    [Fact]
    public void Embeddings_and_tokens_give_the_same_bits()
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 2);
        using var both = new FloatBuffer(2L * Scales.Last.Tokens * Channels);
        FeatureMap maps = both.FeatureMap(2, Scales.Last.Height, Scales.Last.Width, Channels);
        int[] tokens = Tokens(1, 1);
        using var embeddings = new FloatBuffer(tokens.Length * Channels);
        Matrix rows = embeddings.Matrix(tokens.Length, Channels);
        for (int i = 0; i < tokens.Length; i++)
        {
            quantizer.Codebook.Row(tokens[i]).CopyTo(rows.Row(i));
        }

        quantizer.Accumulate(tokens, 1, maps.Image(0));
        quantizer.Accumulate(rows, 1, maps.Image(1));
        Assert.Equal(maps.Image(0).Span(), maps.Image(1).Span());
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void Quantize_finds_what_a_search_in_double_finds(bool byAngle, bool someSet)
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 2, byAngle);
        using FloatBuffer f = RandomMaps(batch: 2, seed: 5);
        using var fHat = new FloatBuffer(f.Length);
        using var replay = new FloatBuffer(f.Length);
        var tokens = new int[2 * Scales.Tokens];
        int[] set = someSet ? [.. Enumerable.Range(0, tokens.Length).Select(i => i % 3 == 1 ? 7 * i % Vocabulary : -1)] : [];
        quantizer.Quantize(Maps(f, 2), tokens, Maps(fHat, 2), set);
        int[] used = someSet ? MultiScaleQuantizer.Merge(set, tokens) : tokens;
        Assert.Equal(someSet, !used.SequenceEqual(tokens));

        for (int b = 0; b < 2; b++)
        {
            FeatureMap image = Maps(replay, 2).Image(b);
            for (int k = 0; k < Scales.Count; k++)
            {
                Span<int> found = tokens.AsSpan(b * Scales.Tokens + Scales.Start(k), Scales[k].Tokens);
                using FloatBuffer rest = Difference(Maps(f, 2).Image(b), image);
                using var reduced = new FloatBuffer(Scales[k].Tokens * Channels);
                FeatureMap small = reduced.FeatureMap(1, Scales[k].Height, Scales[k].Width, Channels);
                Interpolation.Area(Maps(rest, 1), small);
                for (int i = 0; i < found.Length; i++)
                {
                    double[] scores = [.. Enumerable.Range(0, Vocabulary).Select(v => Score(small.Pixels().Row(i), quantizer.Codebook.Row(v), byAngle))];

                    // The margin of random data is far above float32 noise, except in one of ten thousand choices.
                    Assert.True(scores[found[i]] <= scores.Min() + 1e-5);
                }

                quantizer.Accumulate(used.AsSpan(b * Scales.Tokens + Scales.Start(k), Scales[k].Tokens), k, image);
            }
        }

        Assert.Equal(replay.Span(), fHat.Span());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Equal_codes_resolve_to_the_first(bool byAngle)
    {
        MemoryCheckpoint tensors = Tensors(sharedPhi: 1, Scales);
        float[] codebook = tensors["embedding.weight"];
        for (int i = 0; i < codebook.Length; i++)
        {
            codebook[i] = codebook[i % Channels + (i / Channels % 3) * Channels];
        }

        using var quantizer = MultiScaleQuantizer.Load(tensors.Root, Config(1, byAngle), Scales, Kernels);
        using FloatBuffer f = RandomMaps(batch: 1, seed: 6);
        using var fHat = new FloatBuffer(f.Length);
        var tokens = new int[Scales.Tokens];
        quantizer.Quantize(Maps(f, 1), tokens, Maps(fHat, 1));
        Assert.All(tokens, token => Assert.InRange(token, 0, 2));
        Assert.True(tokens.Distinct().Count() > 1);
    }

    [Fact]
    public void An_image_does_not_depend_on_its_place_in_the_batch()
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 2);
        using FloatBuffer f = RandomMaps(batch: 3, seed: 7);
        using var together = new FloatBuffer(f.Length);
        using var alone = new FloatBuffer(f.Length / 3);
        var tokens = new int[3 * Scales.Tokens];
        var single = new int[Scales.Tokens];
        quantizer.Quantize(Maps(f, 3), tokens, Maps(together, 3));
        for (int b = 0; b < 3; b++)
        {
            quantizer.Quantize(Maps(f, 3).Image(b), single, Maps(alone, 1));
            Assert.Equal(single, tokens[(b * Scales.Tokens)..((b + 1) * Scales.Tokens)]);
            Assert.Equal(alone.Span(), Maps(together, 3).Image(b).Span());
        }

        // Accumulating a batch at once gives the bits of its images one by one.
        together.Span().Clear();
        for (int k = 0; k < Scales.Count; k++)
        {
            quantizer.Accumulate(Tokens(3, k), k, Maps(together, 3));
        }

        for (int b = 0; b < 3; b++)
        {
            alone.Span().Clear();
            for (int k = 0; k < Scales.Count; k++)
            {
                quantizer.Accumulate(Tokens(3, k).AsSpan(b * Scales[k].Tokens, Scales[k].Tokens), k, Maps(alone, 1));
            }

            Assert.Equal(alone.Span(), Maps(together, 3).Image(b).Span());
        }
    }

    [Fact]
    public void Teacher_input_is_the_next_input_of_every_scale()
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 2);
        int rows = Scales.Tokens - 1;
        using var input = new FloatBuffer(2L * rows * Channels);
        using var fHat = new FloatBuffer(2L * Scales.Last.Tokens * Channels);
        int[] tokens = [.. Enumerable.Range(0, 2 * Scales.Tokens).Select(i => i * 7 % Vocabulary)];
        quantizer.TeacherInput(tokens, input.Matrix(2 * rows, Channels));
        for (int b = 0; b < 2; b++)
        {
            for (int k = 0; k < Scales.Count - 1; k++)
            {
                TokenMapSize next = Scales[k + 1];
                using var expected = new FloatBuffer(next.Tokens * Channels);
                quantizer.Accumulate(tokens.AsSpan(b * Scales.Tokens + Scales.Start(k), Scales[k].Tokens), k, Maps(fHat, 2).Image(b));
                quantizer.NextInput(Maps(fHat, 2).Image(b), k, expected.FeatureMap(1, next.Height, next.Width, Channels));
                Assert.Equal(expected.Span(), input.Span((b * rows + Scales.Start(k + 1) - 1) * Channels, next.Tokens * Channels));
            }
        }
    }

    [Fact]
    public void Wrong_arguments_are_refused_with_what_does_not_fit()
    {
        using MultiScaleQuantizer quantizer = Create(sharedPhi: 2);
        using var buffer = new FloatBuffer(4L * Scales.Last.Tokens * Channels);
        FeatureMap fHat = Maps(buffer, 1);
        Assert.Contains("is 37", Assert.Throws<ArgumentException>(() => quantizer.Accumulate([37], 0, fHat)).Message, StringComparison.Ordinal);
        Assert.Contains("is -1", Assert.Throws<ArgumentException>(() => quantizer.Accumulate([-1], 0, fHat)).Message, StringComparison.Ordinal);
        Assert.Contains("2x3", Assert.Throws<ArgumentException>(() => quantizer.Accumulate([1, 2, 3], 1, fHat)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => quantizer.Accumulate([0], 4, fHat));
        Assert.Throws<ArgumentOutOfRangeException>(() => quantizer.NextInput(fHat, 3, fHat));
        Assert.Contains("2x3", Assert.Throws<ArgumentException>(() => quantizer.NextInput(fHat, 0, fHat)).Message, StringComparison.Ordinal);
        FeatureMap wrong = buffer.FeatureMap(1, 4, 6, Channels);
        Assert.Contains("4x7", Assert.Throws<ArgumentException>(() => quantizer.Quantize(wrong, new int[50], wrong)).Message, StringComparison.Ordinal);
        Assert.Contains("50", Assert.Throws<ArgumentException>(() => quantizer.Quantize(fHat, new int[49], Maps(buffer, 1))).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => quantizer.TeacherInput(new int[50], buffer.Matrix(48, Channels)));
    }

    [Fact]
    public void A_missing_phi_is_named()
    {
        using MemoryCheckpoint tensors = Tensors(sharedPhi: 2, Scales);
        CheckpointException refusal = Assert.Throws<CheckpointException>(
            () => MultiScaleQuantizer.Load(tensors.Root, Config(3, byAngle: false), Scales, Kernels));
        Assert.Equal("quant_resi.qresi_ls.2.weight", refusal.Entry);
    }

    private static VqVaeConfig Config(int sharedPhi, bool byAngle) => new()
    {
        Vocabulary = Vocabulary,
        CodeChannels = Channels,
        BaseChannels = 32,
        ChannelMultipliers = [1, 1],
        ResidualBlocks = 1,
        SharedPhi = sharedPhi,
        UseZNorm = byAngle,
        QuantizerResidual = 0.25f,
    };

    private static MemoryCheckpoint Tensors(int sharedPhi, ScaleSchedule scales)
    {
        var random = new Random(1);
        MemoryCheckpoint tensors = new MemoryCheckpoint().Add(random, "embedding.weight", 1, Vocabulary, Channels);
        string[] names = sharedPhi switch
        {
            0 => [.. Enumerable.Range(0, scales.Count).Select(k => $"quant_resi.{k}")],
            1 => ["quant_resi.qresi"],
            _ => [.. Enumerable.Range(0, sharedPhi).Select(k => $"quant_resi.qresi_ls.{k}")],
        };
        foreach (string name in names)
        {
            tensors.Add(random, $"{name}.weight", 0.2, Channels, Channels, 3, 3).Add(random, $"{name}.bias", 0.2, Channels);
        }

        return tensors;
    }

    private static MultiScaleQuantizer Create(int sharedPhi, bool byAngle = false, ScaleSchedule? scales = null, KernelSet? kernels = null)
    {
        scales ??= Scales;
        return MultiScaleQuantizer.Load(Tensors(sharedPhi, scales).Root, Config(sharedPhi, byAngle), scales, kernels ?? Kernels);
    }

    private static int[] Tokens(int batch, int scale) =>
        [.. Enumerable.Range(0, batch * Scales[scale].Tokens).Select(i => (11 * i + 5 * scale) % Vocabulary)];

    private static FloatBuffer RandomMaps(int batch, int seed)
    {
        var random = new Random(seed);
        var buffer = new FloatBuffer((long)batch * Scales.Last.Tokens * Channels);
        foreach (ref float value in buffer.Span())
        {
            value = (float)(4 * random.NextDouble() - 2);
        }

        return buffer;
    }

    private static FeatureMap Maps(FloatBuffer buffer, int batch) => buffer.FeatureMap(batch, Scales.Last.Height, Scales.Last.Width, Channels);

    private static FloatBuffer Difference(FeatureMap a, FeatureMap b)
    {
        FloatBuffer result = FloatBuffer.Of(a.Span());
        for (int i = 0; i < result.Length; i++)
        {
            result.Span()[i] -= b.Span()[i];
        }

        return result;
    }

    private static double Score(ReadOnlySpan<float> vector, ReadOnlySpan<float> code, bool byAngle)
    {
        double product = 0;
        double squares = 0;
        double distance = 0;
        for (int c = 0; c < vector.Length; c++)
        {
            product += (double)vector[c] * code[c];
            squares += (double)code[c] * code[c];
            distance += ((double)vector[c] - code[c]) * ((double)vector[c] - code[c]);
        }

        return byAngle ? -product / Math.Sqrt(squares) : distance;
    }

    // VAR models/quant.py, Phi.forward after F.interpolate, with phi k for scale k and r = 1/4.
    private static void AccumulateInDouble(MemoryCheckpoint tensors, int[] tokens, int scale, double[] sum, double[] magnitude)
    {
        TokenMapSize last = Scales.Last;
        float[] weight = tensors[$"quant_resi.{scale}.weight"];
        float[] bias = tensors[$"quant_resi.{scale}.bias"];
        using var codes = new FloatBuffer(tokens.Length * Channels);
        using var enlarged = new FloatBuffer(last.Tokens * Channels);
        for (int i = 0; i < codes.Length; i++)
        {
            codes.Span()[i] = tensors["embedding.weight"][tokens[i / Channels] * Channels + i % Channels];
        }

        Interpolation.Bicubic(codes.FeatureMap(1, Scales[scale].Height, Scales[scale].Width, Channels), Maps(enlarged, 1));
        for (int i = 0; i < sum.Length; i++)
        {
            int output = i % Channels;
            int column = i / Channels % last.Width;
            int row = i / Channels / last.Width;
            double convolved = bias[output];
            double sizes = Math.Abs(convolved) + Math.Abs(enlarged.Span()[i]) + Math.Abs(sum[i]);
            for (int tap = 0; tap < 9 * Channels; tap++)
            {
                int input = tap / 9;
                int y = row + tap % 9 / 3 - 1;
                int x = column + tap % 3 - 1;
                if (y >= 0 && x >= 0 && y < last.Height && x < last.Width)
                {
                    double product = (double)enlarged.Span()[(y * last.Width + x) * Channels + input] * weight[(output * Channels + input) * 9 + tap % 9];
                    convolved += product;
                    sizes += Math.Abs(product);
                }
            }

            sum[i] += 0.75 * enlarged.Span()[i] + 0.25 * convolved;
            magnitude[i] += sizes;
        }
    }
}
