using Subquartic.Attention;
using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;
using Subquartic.Numerics.Tensors;
using Subquartic.Reports;
using Xunit.Abstractions;

namespace Subquartic.Tests.Attention.HigherOrder;

/// <summary>Low-rank tensor attention and its gradient against double precision, on random and on hostile input.</summary>
public class LowRankTensorPropertyTests(ITestOutputHelper log)
{
    private const int Cases = 1800;

    private enum Kind
    {
        Uniform,
        Corners,
        KeysFarAway,
        OneKeySetFarAway,
        Anisotropic,
        EqualKeys,
        OneKey,
        HugeValues,
        DenormalValues,
        ValuesFarAway,
        TinyQueriesHugeKeys,
        ZeroCoordinate,
        EqualValues,
        HugeUpstream,
        TwoValued,
    }

    [Fact]
    public void No_error_exceeds_its_certificate()
    {
        using var set = new TensorAttentionTests.OwnedKernels(Numerics.Kernels.KernelSet.Best.Name, 1);
        var forward = new List<double>();
        var backward = new List<double>();
        int approximated = 0;
        var seen = new HashSet<Kind>();
        for (int seed = 0; seed < Cases; seed++)
        {
            var random = new Random(seed);
            var kind = (Kind)(seed % Enum.GetValues<Kind>().Length);
            int order = random.Next(2, 5);
            int keys = kind == Kind.OneKey ? 1 : order == 2 ? random.Next(2, 200) : order == 3 ? random.Next(2, 14) : random.Next(2, 6);
            using var sample = new TensorSample(
                order, random.Next(1, 8), keys, random.Next(1, 4), random.Next(1, 4), Math.Pow(10, -1 + (1.6 * random.NextDouble())), seed, kind == Kind.Corners);
            TensorInput input = Spoil(sample, random, kind);
            int? degree = random.Next(4) == 0 ? null : random.Next(0, 9);
            using var attention = new LowRankTensorAttention(set.Kernels, Math.Pow(10, -1 - (3 * random.NextDouble()))) { Degree = degree };
            TensorProblem problem = ReferenceTensorAttention.Widen(input);
            Matrix output = sample.New(input.Queries.Rows, input.Values[0].Columns);
            Certificate certificate = attention.Attend(input, output);
            double error = TensorAttentionTests.Difference(output, ReferenceTensorAttention.Attend(problem));
            Assert.True(error <= certificate.ErrorBound, $"seed {seed}, {kind}, order {order}, degree {degree}: error {error}, {certificate}");
            if (certificate.Path == AttentionPath.Exact)
            {
                continue;
            }

            approximated++;
            seen.Add(kind);
            Keep(forward, certificate.ErrorBound, error);
            TensorGradientCertificate bounds = attention.Backward(input, sample.Upstream, sample.Gradient);
            TensorProblem gradient = ReferenceTensorAttention.Gradient(problem, ReferenceTensorAttention.Widen(sample.Upstream));
            for (int i = 0; i < gradient.Queries.GetLength(0); i++)
            {
                for (int l = 0; l < gradient.Queries.GetLength(1); l++)
                {
                    gradient.Queries[i, l] *= input.Scale;
                }
            }

            // The judge rounds too, in double precision, by some units of the last place of the largest terms it adds.
            double upstream = 1e-14 * input.Queries.Rows * Largest(sample.Upstream) * sample.Upstream.Columns;
            double keyProduct = Math.Abs(input.Scale) * input.Keys.Aggregate(1.0, (product, m) => product * Largest(m));
            double valueProduct = input.Values.Aggregate(1.0, (product, m) => product * Largest(m));
            Check("dQ", sample.Gradient.Queries, gradient.Queries, bounds.Queries, upstream * keyProduct * valueProduct);
            for (int s = 0; s < input.Keys.Count; s++)
            {
                double others = Largest(input.Keys[s]) == 0 ? 0 : keyProduct / Largest(input.Keys[s]) * Largest(input.Queries);
                Check($"dK {s}", sample.Gradient.Keys[s], gradient.Keys[s], bounds.Keys[s], upstream * others * valueProduct);
                Check($"dV {s}", sample.Gradient.Values[s], gradient.Values[s], bounds.Values[s], upstream * valueProduct / Math.Max(1e-60, Largest(input.Values[s])));
            }

            void Check(string what, Matrix actual, double[,] expected, double bound, double judge)
            {
                double difference = Math.Max(0, TensorAttentionTests.Difference(actual, expected) - judge);
                Assert.True(difference <= bound, $"seed {seed}, {kind}, order {order}: {what} error {difference}, bound {bound}, {bounds.Reason}");
                Keep(backward, bound, difference);
            }
        }

        forward.Sort();
        backward.Sort();
        log.WriteLine($"{approximated} of {Cases} approximated; bound/error forward: least {forward[0]:g3}, median {forward[forward.Count / 2]:g3}; gradient: least {backward[0]:g3}, median {backward[backward.Count / 2]:g3}");
        Assert.InRange(approximated, Cases / 2, Cases); // else the test would mostly check exact attention
        Assert.InRange(forward[forward.Count / 2], 1, 200);
        Assert.InRange(backward[backward.Count / 2], 1, 2000);
        Assert.Equal(Enum.GetValues<Kind>().Length, seen.Count);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void What_is_not_finite_is_computed_exactly_and_without_a_promise(float bad)
    {
        for (int place = 0; place < 5; place++)
        {
            using var sample = new TensorSample(3, 40, 40, 2, 2, 0.5, 1);
            TensorInput input = sample.Input;
            new[] { input.Queries, input.Keys[0], input.Keys[1], input.Values[0], input.Values[1] }[place].Row(7)[1] = bad;
            using var attention = new LowRankTensorAttention(Numerics.Kernels.KernelSet.Best, 1e-1);
            Certificate certificate = attention.Attend(input, sample.New(40, 2));
            Assert.Equal((AttentionPath.Exact, double.PositiveInfinity), (certificate.Path, certificate.ErrorBound));
        }
    }

    private static double Largest(Matrix matrix)
    {
        double largest = 0;
        foreach (float value in matrix.Span())
        {
            largest = Math.Max(largest, Math.Abs((double)value));
        }

        return largest;
    }

    private static void Keep(List<double> ratios, double bound, double error)
    {
        if (error > 0 && double.IsFinite(bound))
        {
            ratios.Add(bound / error);
        }
    }

    private static TensorInput Spoil(TensorSample sample, Random random, Kind kind)
    {
        TensorInput input = sample.Input;
        float[] factors = [.. Enumerable.Range(0, 4).Select(_ => MathF.Pow(10, (6 * random.NextSingle()) - 3))];
        switch (kind)
        {
            case Kind.KeysFarAway:
                Each(input.Keys, (x, l) => 2 + (0.1f * x) + l);
                break;
            case Kind.OneKeySetFarAway:
                Each([input.Keys[^1]], (x, l) => -3 + (0.2f * x));
                break;
            case Kind.Anisotropic:
                Each([input.Queries], (x, l) => x * factors[l] * factors[l]);
                Each(input.Keys, (x, l) => x / MathF.Pow(factors[l], 2f / input.Keys.Count));
                break;
            case Kind.EqualKeys:
                Each(input.Keys, (_, l) => 0.5f + l);
                break;
            case Kind.HugeValues:
                Each([input.Values[0]], (x, _) => x * 1e37f);
                break;
            case Kind.DenormalValues:
                Each([input.Values[0]], (x, _) => x * 1e-41f);
                break;
            case Kind.ValuesFarAway:
                Each(input.Values, (x, _) => 100 + x);
                break;
            case Kind.TinyQueriesHugeKeys:
                Each([input.Queries], (x, _) => x * 1e-37f);
                Each([input.Keys[0]], (x, _) => x * 1e37f);
                break;
            case Kind.ZeroCoordinate:
                Each([input.Keys[0]], (x, l) => l == 0 ? 0 : x);
                break;
            case Kind.EqualValues:
                Each(input.Values, (_, l) => factors[l]);
                break;
            case Kind.HugeUpstream:
                Each([sample.Upstream], (x, l) => x * 1e30f);
                break;
            case Kind.TwoValued:
                // Values 0 and 1 by the sign of the first coordinate put the weight that moves on one side.
                for (int s = 0; s < input.Keys.Count; s++)
                {
                    for (int j = 0; j < input.Keys[s].Rows; j++)
                    {
                        input.Values[s].Row(j).Fill(input.Keys[s].Row(j)[0] > 0 ? 1 : 0);
                    }
                }

                break;
        }

        return random.Next(4) == 0 ? input with { Scale = -input.Scale } : input;

        static void Each(IEnumerable<Matrix> matrices, Func<float, int, float> change)
        {
            foreach (Matrix matrix in matrices)
            {
                for (int i = 0; i < matrix.Rows; i++)
                {
                    for (int l = 0; l < matrix.Columns; l++)
                    {
                        matrix.Row(i)[l] = change(matrix.Row(i)[l], l);
                    }
                }
            }
        }
    }
}
