using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

/// <summary>The judge of gradients against central differences, and the fast exact path against the judge.</summary>
public class ReferenceGradientTests
{
    private static readonly AttentionSegment[] Scales = [new(0, 1, 1), new(1, 4, 5), new(5, 9, 14)];

    [Fact]
    public void The_judge_agrees_with_central_differences()
    {
        const int width = 3, valueWidth = 2, tokens = 14;
        var random = new Random(1);
        double[][] operands = [Uniform(random, tokens * width), Uniform(random, tokens * width), Uniform(random, tokens * valueWidth)];
        double[] g = Uniform(random, tokens * valueWidth);
        ReferenceGradient<double> Compute() => ReferenceGradient<double>.Compute(operands[0], operands[1], operands[2], g, width, 1.7, Scales);
        ReferenceGradient<double> gradient = Compute();
        double[][] gradients = [gradient.Queries, gradient.Keys, gradient.Values];
        for (int o = 0; o < operands.Length; o++)
        {
            double size = gradients[o].Max(Math.Abs);
            for (int i = 0; i < operands[o].Length; i++)
            {
                // Fourth order: the error of the differences is near 1e-11.
                const double h = 1e-3;
                double At(double offset)
                {
                    double old = operands[o][i];
                    operands[o][i] = old + offset;
                    double sum = Compute().Output.Zip(g, (a, b) => a * b).Sum();
                    operands[o][i] = old;
                    return sum;
                }

                double difference = ((8 * (At(h) - At(-h))) - (At(2 * h) - At(-2 * h))) / (12 * h);
                Assert.InRange(gradients[o][i] - difference, -1e-9 * size, 1e-9 * size);
            }
        }
    }

    [Fact]
    public void The_fast_path_errs_less_than_twice_as_much_as_the_plain_loop_in_float()
    {
        const int width = 16, tokens = 85;
        AttentionSegment[] segments = [new(0, 1, 1), new(1, 4, 5), new(5, 16, 21), new(21, 64, 85)];
        foreach (string name in KernelSet.Available)
        {
            KernelSet kernels = KernelSet.Create(name, 2);
            double fast = 0, plain = 0;
            for (int seed = 0; seed < 6; seed++)
            {
                var random = new Random(seed);
                float[][] f = [.. Enumerable.Range(0, 4).Select(_ => Array.ConvertAll(Uniform(random, tokens * width), x => (float)x))];
                double[][] d = [.. f.Select(values => Array.ConvertAll(values, x => (double)x))];
                float scale = 0.5f + (2 * random.NextSingle());
                var judge = ReferenceGradient<double>.Compute(d[0], d[1], d[2], d[3], width, scale, segments);
                var loop = ReferenceGradient<float>.Compute(f[0], f[1], f[2], f[3], width, scale, segments);
                using var memory = new FloatBuffer(7L * tokens * width);
                HeadTensor[] heads = [.. Enumerable.Range(0, 7).Select(n => HeadTensor.Interleaved(memory.Matrix(tokens, width, (long)n * tokens * width), 1, 1))];
                for (int n = 0; n < 7; n++)
                {
                    Span<float> target = heads[n][0, 0].Span();
                    target.Clear();
                    (n < 4 ? f[n] : []).CopyTo(target);
                }

                foreach (AttentionSegment s in segments)
                {
                    kernels.AttentionGradient(
                        heads[0].SliceRows(s.QueryStart, s.Queries), heads[1].SliceRows(0, s.Keys), heads[2].SliceRows(0, s.Keys),
                        heads[3].SliceRows(s.QueryStart, s.Queries), scale,
                        heads[4].SliceRows(s.QueryStart, s.Queries), heads[5].SliceRows(0, s.Keys), heads[6].SliceRows(0, s.Keys));
                }

                double[][] exact = [judge.Queries, judge.Keys, judge.Values];
                float[][] plainly = [loop.Queries, loop.Keys, loop.Values];
                for (int n = 0; n < 3; n++)
                {
                    double size = exact[n].Max(Math.Abs);
                    fast = Math.Max(fast, Error(exact[n], heads[4 + n][0, 0].Span()) / size);
                    plain = Math.Max(plain, Error(exact[n], plainly[n]) / size);
                }
            }

            Assert.True(fast <= 2 * plain, $"{name}: {fast} against {plain}");
        }
    }

    private static double Error(double[] exact, ReadOnlySpan<float> actual)
    {
        double error = 0;
        for (int i = 0; i < exact.Length; i++)
        {
            error = Math.Max(error, Math.Abs(exact[i] - actual[i]));
        }

        return error;
    }

    private static double[] Uniform(Random random, int length) => [.. Enumerable.Range(0, length).Select(_ => (2 * random.NextDouble()) - 1)];
}
