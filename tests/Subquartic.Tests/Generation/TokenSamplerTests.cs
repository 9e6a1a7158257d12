using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Generation;

public sealed class TokenSamplerTests
{
    private static readonly KernelSet Kernels = KernelSet.Create("vector256", threads: 2);

    private static readonly float[] Probabilities = [0.4f, 0.3f, 0.15f, 0.1f, 0.03f, 0.02f];

    private static readonly SamplingOptions Plain = new() { TopK = 0, TopP = 0 };

    [Fact]
    public void Tokens_come_as_often_as_their_probability_says()
    {
        const int draws = 20_000;
        int[] counts = Count(Draw(draws, Plain));
        double statistic = 0;
        for (int v = 0; v < counts.Length; v++)
        {
            double expected = Probabilities[v] * draws;
            statistic += (counts[v] - expected) * (counts[v] - expected) / expected;
        }

        // 99.9 % of a chi-square variable with 5 degrees of freedom is below 20.5; the seed is fixed.
        Assert.True(statistic < 20.5, $"chi-square {statistic}");
    }

    [Fact]
    public void Temperature_flattens_the_distribution()
    {
        int[] counts = Count(Draw(20_000, Plain with { Temperature = 2 }));
        double total = Probabilities.Sum(p => Math.Sqrt(p));

        // p^(1/2), normalised; five standard deviations of a count of 20 000 are at most 354.
        for (int v = 0; v < counts.Length; v++)
        {
            Assert.Equal(20_000 * Math.Sqrt(Probabilities[v]) / total, counts[v], 354.0);
        }
    }

    [Fact]
    public void Settings_may_differ_from_scale_to_scale()
    {
        SamplingOptions falling = Plain with { Temperature = new ScaleValues(2, 0.5f) };
        Assert.Equal(Draw(500, Plain with { Temperature = 2 }), Draw(500, falling));
        Assert.Equal(Draw(500, Plain with { Temperature = 0.5f }, scale: 1), Draw(500, falling, scale: 1));
        Assert.Equal([0, 2, 4], Enumerable.Range(0, 3).Select(scale => SamplingStep.GuidanceAt(4, scale, 3)));
        Assert.Equal([1, 0, 4], Enumerable.Range(0, 3).Select(scale => SamplingStep.GuidanceAt(new ScaleValues(1, 0, 4), scale, 3)));
    }

    [Fact]
    public void Settings_of_scales_are_read_written_and_compared()
    {
        Assert.True(ScaleValues.TryParse("1,0.5,2", System.Globalization.CultureInfo.InvariantCulture, out ScaleValues values));
        Assert.Equal("1,0.5,2", values.ToString());
        Assert.Equal("[1,0.5,2]", values.ToJson().ToJsonString());
        Assert.Equal(new ScaleValues(1, 0.5f, 2), values);
        Assert.NotEqual(new ScaleValues(1, 0.5f, 3), values);
        Assert.Equal("4", new ScaleValues(4).ToJson().ToJsonString());
        Assert.False(ScaleValues.TryParse("1,,2", null, out _));
        Assert.False(ScaleValues.TryParse("", null, out _));
        Assert.Throws<ArgumentException>(() => new ScaleValues(Array.Empty<float>()));
        Assert.Equal(0, default(ScaleValues)[3]);
    }

    [Fact]
    public void Filters_remove_the_unlikely()
    {
        Assert.Equal([0, 1, 2], Draw(2000, Plain with { TopK = 3 }).Distinct().Order());
        Assert.Equal([0, 1, 2], Draw(2000, Plain with { TopP = 0.8f }).Distinct().Order());
        Assert.Equal([0], Draw(50, SamplingOptions.Greedy).Distinct());
    }

    [Fact]
    public void A_token_depends_on_seed_image_scale_and_place_only()
    {
        int[] all = Draw(300, Plain, tokensPerImage: 100);
        Assert.Equal(all[100..200], Draw(100, Plain, tokensPerImage: 100, firstImage: 1));
        Assert.NotEqual(all[100..200], all[..100]);
        Assert.NotEqual(all, Draw(300, Plain, tokensPerImage: 100, seed: 2));
        Assert.NotEqual(all, Draw(300, Plain, tokensPerImage: 100, scale: 1));
    }

    [Fact]
    public void Guidance_moves_away_from_the_unconditional_logits()
    {
        float[] conditional = [1, 2, -3];
        TokenSampler.Guide(conditional, [2, 2, 1], strength: 0.5f);
        Assert.Equal([0.5f, 2, -5], conditional);
    }

    [Fact]
    public void The_smooth_branch_gives_weights_and_their_largest_as_token()
    {
        using var buffer = new FloatBuffer(40 * Probabilities.Length);
        Matrix logits = Fill(buffer, 40);
        var tokens = new int[40];
        var step = new SamplingStep { Scale = 0, Tokens = 40, Seed = 3, Progress = 0.5f };
        TokenSampler.Sample(Kernels, logits, default, Plain with { MoreSmooth = true, TopK = 4 }, step, tokens);
        for (int i = 0; i < 40; i++)
        {
            float[] weights = logits.Row(i).ToArray();
            Assert.Equal(1, weights.Sum(), 1e-5);
            Assert.Equal([0, 0], weights[4..]);
            Assert.Equal(weights.Max(), weights[tokens[i]]);
        }

        Assert.True(tokens.Distinct().Count() > 1);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void Logits_that_are_not_finite_are_reported(float value)
    {
        using var buffer = new FloatBuffer(5 * Probabilities.Length);
        Matrix logits = Fill(buffer, 5);
        logits.Row(3)[2] = value;
        var step = new SamplingStep { Scale = 1, Tokens = 5 };
        string message = Assert.Throws<ArithmeticException>(() =>
            TokenSampler.Sample(Kernels, logits, default, Plain, step, new int[5])).Message;
        Assert.Contains("Scale 1, token 3", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Options_outside_their_range_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => (Plain with { Temperature = 0 }).Validate(3));
        Assert.Throws<ArgumentOutOfRangeException>(() => (Plain with { Temperature = float.NaN }).Validate(3));
        Assert.Throws<ArgumentOutOfRangeException>(() => (Plain with { Temperature = new ScaleValues(1, 0, 1) }).Validate(3));
        Assert.Contains("3 scales", Assert.Throws<ArgumentException>(() => (Plain with { Passes = new ScaleValues(1, 1) }).Validate(3)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => (Plain with { TopK = -1 }).Validate(3));
        Assert.Throws<ArgumentOutOfRangeException>(() => (Plain with { TopP = 1.5f }).Validate(3));
    }

    private static Matrix Fill(FloatBuffer buffer, int rows)
    {
        Matrix logits = buffer.Matrix(rows, Probabilities.Length);
        for (int i = 0; i < rows; i++)
        {
            for (int v = 0; v < Probabilities.Length; v++)
            {
                logits.Row(i)[v] = MathF.Log(Probabilities[v]) + 1;
            }
        }

        return logits;
    }

    private static int[] Draw(int count, SamplingOptions options, int tokensPerImage = 1000, int firstImage = 0, ulong seed = 1, int scale = 0)
    {
        using var buffer = new FloatBuffer((long)count * Probabilities.Length);
        var tokens = new int[count];
        var step = new SamplingStep { Scale = scale, Tokens = tokensPerImage, Seed = seed, FirstImage = firstImage };
        TokenSampler.Sample(Kernels, Fill(buffer, count), default, options, step, tokens);
        return tokens;
    }

    private static int[] Count(int[] tokens) => [.. Enumerable.Range(0, Probabilities.Length).Select(v => tokens.Count(token => token == v))];
}
