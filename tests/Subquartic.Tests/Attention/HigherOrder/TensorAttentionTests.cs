using Subquartic.Attention;
using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Reports;

namespace Subquartic.Tests.Attention.HigherOrder;

public class TensorAttentionTests
{
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void The_judges_gradient_is_that_of_central_differences(int order)
    {
        using var sample = new TensorSample(order, 3, 4, 3, 2, 2, seed: order);
        TensorProblem x = ReferenceTensorAttention.Widen(sample.Input);
        double[,] upstream = ReferenceTensorAttention.Widen(sample.Upstream);
        TensorProblem gradient = ReferenceTensorAttention.Gradient(x, upstream);
        double[][,] operands = [x.Queries, .. x.Keys, .. x.Values], actual = [gradient.Queries, .. gradient.Keys, .. gradient.Values];
        for (int o = 0; o < operands.Length; o++)
        {
            double size = actual[o].Cast<double>().Max(Math.Abs);
            for (int i = 0; i < operands[o].GetLength(0); i++)
            {
                for (int l = 0; l < operands[o].GetLength(1); l++)
                {
                    const double h = 1e-3;
                    double old = operands[o][i, l];
                    double At(double value)
                    {
                        operands[o][i, l] = value;
                        double[,] output = ReferenceTensorAttention.Attend(x);
                        operands[o][i, l] = old;
                        double sum = 0;
                        for (int n = 0; n < output.Length; n++)
                        {
                            sum += output[n / output.GetLength(1), n % output.GetLength(1)] * upstream[n / output.GetLength(1), n % output.GetLength(1)];
                        }

                        return sum;
                    }

                    double difference = ((8 * (At(old + h) - At(old - h))) - (At(old + (2 * h)) - At(old - (2 * h)))) / (12 * h);
                    Assert.InRange(actual[o][i, l], difference - (1e-9 * size), difference + (1e-9 * size));
                }
            }
        }
    }

    [Fact]
    public void With_ones_as_second_keys_it_is_ordinary_attention()
    {
        using var sample = new TensorSample(3, 5, 40, 3, 2, 2, seed: 1);
        sample.Input.Keys[1].Span().Fill(1);
        sample.Input.Values[1].Span().Fill(1);
        Matrix tensor = sample.New(5, 2), ordinary = sample.New(5, 2);
        new ExactTensorAttention(KernelSet.Best).Attend(sample.Input, tensor);
        KernelSet.Best.Attention(
            Head(sample.Input.Queries), Head(sample.Input.Keys[0]), Head(sample.Input.Values[0]), sample.Input.Scale, Head(ordinary));
        Assert.InRange(ScalingReport.LargestDifference(tensor.Span(), ordinary.Span()), 0, 1e-6);
    }

    [Theory]
    [InlineData(2, 7, 300, 0)]
    [InlineData(3, 7, 40, 0)]
    [InlineData(3, 2, 530, 3)]
    [InlineData(4, 5, 13, 0)]
    public void Exact_agrees_with_the_judge_within_its_bound_on_all_kernels(int order, int queries, int keys, int last)
    {
        using var sample = new TensorSample(order, queries, keys, 5, 3, 6, seed: keys);
        TensorInput input = sample.Input;
        if (last > 0)
        {
            // More prefixes than a block, few last keys.
            input = input with { Keys = [input.Keys[0], input.Keys[1].SliceRows(0, last)], Values = [input.Values[0], input.Values[1].SliceRows(0, last)] };
        }

        double[,] expected = ReferenceTensorAttention.Attend(ReferenceTensorAttention.Widen(input));
        Matrix output = sample.New(queries, 3);
        foreach (string name in KernelSet.Available)
        {
            using var set = new OwnedKernels(name, 2);
            double bound = new ExactTensorAttention(set.Kernels).Attend(input, output).ErrorBound;
            double error = Difference(output, expected);
            Assert.InRange(error, 0, bound);
            Assert.InRange(bound, 0, 1e-3);
        }
    }

    [Fact]
    public void Bits_do_not_depend_on_threads()
    {
        using OwnedKernels one = new(KernelSet.Best.Name, 1), three = new(KernelSet.Best.Name, 3);
        using var sample = new TensorSample(3, 37, 50, 3, 2, 1, seed: 2);
        Matrix a = sample.New(37, 2), b = sample.New(37, 2);
        new ExactTensorAttention(one.Kernels).Attend(sample.Input, a);
        new ExactTensorAttention(three.Kernels).Attend(sample.Input, b);
        Assert.Equal(a.Span().ToArray(), b.Span().ToArray());
        Assert.Equal(Gradient(k => new ExactTensorAttention(k).Backward(sample.Input, sample.Upstream, sample.Gradient), one), Gradient(
            k => new ExactTensorAttention(k).Backward(sample.Input, sample.Upstream, sample.Gradient), three));
        foreach (OwnedKernels set in new[] { one, three })
        {
            using var fast = new LowRankTensorAttention(set.Kernels, 1e-2);
            Assert.Equal(AttentionPath.LowRank, fast.Attend(sample.Input, set == one ? a : b).Path);
        }

        Assert.Equal(a.Span().ToArray(), b.Span().ToArray());

        float[] Gradient(Action<KernelSet> run, OwnedKernels set)
        {
            sample.ClearGradient();
            run(set.Kernels);
            return [.. sample.Gradient.Keys.Concat(sample.Gradient.Values).Append(sample.Gradient.Queries).SelectMany(m => m.Span().ToArray())];
        }
    }

    /// <summary>The yardstick for rounding: the textbook loops of order 3 in float32.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    public void The_exact_gradient_rounds_no_worse_than_twice_the_plain_loop(double range)
    {
        const int queries = 24, keys = 30, width = 4;
        using var sample = new TensorSample(3, queries, keys, width, width, range, seed: 3);
        TensorInput input = sample.Input;
        TensorProblem expected = ReferenceTensorAttention.Gradient(ReferenceTensorAttention.Widen(input), ReferenceTensorAttention.Widen(sample.Upstream));
        using var plain = new PlainLoops(input, sample.Upstream);
        new ExactTensorAttention(KernelSet.Best).Backward(input, sample.Upstream, sample.Gradient);
        Compare(sample.Gradient.Queries, plain.Gradient.Queries, expected.Queries, input.Scale);
        for (int s = 0; s < 2; s++)
        {
            Compare(sample.Gradient.Keys[s], plain.Gradient.Keys[s], expected.Keys[s], 1);
            Compare(sample.Gradient.Values[s], plain.Gradient.Values[s], expected.Values[s], 1);
        }

        static void Compare(Matrix fast, Matrix plain, double[,] exact, double scale)
        {
            for (int i = 0; i < exact.GetLength(0); i++)
            {
                for (int l = 0; l < exact.GetLength(1); l++)
                {
                    exact[i, l] *= scale;
                }
            }

            double yardstick = Difference(plain, exact);
            Assert.True(yardstick > 0);
            Assert.InRange(Difference(fast, exact), 0, 2 * yardstick);
        }
    }

    [Fact]
    public void Keys_far_from_zero_are_served_in_the_centred_form()
    {
        using var sample = new TensorSample(3, 256, 256, 2, 2, 0.5, seed: 4);
        TensorInput input = sample.Input;
        foreach (Matrix keys in input.Keys)
        {
            foreach (ref float value in keys.Span())
            {
                value = 5 + (0.1f * value); // scores up to 13 instead of 0.5
            }
        }

        Matrix exact = sample.New(256, 2), fast = sample.New(256, 2);
        double rounding = new ExactTensorAttention(KernelSet.Best).Attend(input, exact).ErrorBound;
        using var attention = new LowRankTensorAttention(KernelSet.Best, 1e-3);
        Certificate certificate = attention.Attend(input, fast);
        Assert.Equal(AttentionPath.LowRank, certificate.Path);
        Assert.Contains("6 columns", certificate.Reason, StringComparison.Ordinal); // 3 d
        Assert.InRange(ScalingReport.LargestDifference(exact.Span(), fast.Span()), 0, certificate.ErrorBound + rounding);
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_refused()
    {
        using var sample = new TensorSample(3, 4, 5, 2, 2, 1, seed: 5);
        var exact = new ExactTensorAttention(KernelSet.Best);
        Matrix output = sample.New(4, 2);
        Assert.Throws<ArgumentException>(() => exact.Attend(sample.Input with { Keys = [sample.Input.Keys[0]] }, output));
        Assert.Throws<ArgumentException>(() => exact.Attend(sample.Input with { Keys = [sample.Input.Keys[0], sample.Input.Keys[1].SliceRows(1, 2)] }, output));
        Assert.Throws<ArgumentException>(() => exact.Attend(sample.Input, sample.New(4, 3)));
        Assert.Throws<ArgumentException>(() => exact.Backward(sample.Input, sample.Upstream, sample.Gradient with { Queries = output.SliceRows(0, 2) }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new LowRankTensorAttention(KernelSet.Best, 0));
    }

    internal static double Difference(Matrix actual, double[,] expected)
    {
        double largest = 0;
        for (int i = 0; i < actual.Rows; i++)
        {
            for (int j = 0; j < actual.Columns; j++)
            {
                largest = Math.Max(largest, Math.Abs(actual.Row(i)[j] - expected[i, j])); // keeps a NaN
            }
        }

        return largest;
    }

    private static HeadTensor Head(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

    internal sealed class OwnedKernels(string name, int threads) : IDisposable
    {
        public KernelSet Kernels { get; } = KernelSet.Create(name, threads);

        public void Dispose() => Kernels.Pool.Dispose();
    }

    private sealed class PlainLoops : IDisposable
    {
        private readonly TensorSample _room;

        public PlainLoops(in TensorInput x, Matrix upstream)
        {
            int queries = x.Queries.Rows, keys = x.Keys[0].Rows, width = x.Queries.Columns, columns = upstream.Columns;
            _room = new TensorSample(3, queries, keys, width, columns, 1, 0);
            (Matrix k1, Matrix k2, Matrix v1, Matrix v2) = (x.Keys[0], x.Keys[1], x.Values[0], x.Values[1]);
            var weights = new float[keys, keys];
            for (int i = 0; i < queries; i++)
            {
                float max = float.NegativeInfinity, sum = 0;
                for (int a = 0; a < keys; a++)
                {
                    for (int b = 0; b < keys; b++)
                    {
                        float score = 0;
                        for (int l = 0; l < width; l++)
                        {
                            score += x.Queries.Row(i)[l] * k1.Row(a)[l] * k2.Row(b)[l];
                        }

                        weights[a, b] = score * x.Scale;
                        max = Math.Max(max, weights[a, b]);
                    }
                }

                for (int a = 0; a < keys; a++)
                {
                    for (int b = 0; b < keys; b++)
                    {
                        weights[a, b] = MathF.Exp(weights[a, b] - max);
                        sum += weights[a, b];
                    }
                }

                float along = 0;
                for (int c = 0; c < columns; c++)
                {
                    float output = 0;
                    for (int a = 0; a < keys; a++)
                    {
                        for (int b = 0; b < keys; b++)
                        {
                            output += weights[a, b] / sum * v1.Row(a)[c] * v2.Row(b)[c];
                        }
                    }

                    along += output * upstream.Row(i)[c];
                }

                for (int a = 0; a < keys; a++)
                {
                    for (int b = 0; b < keys; b++)
                    {
                        float p = weights[a, b] / sum, dScore = -along;
                        for (int c = 0; c < columns; c++)
                        {
                            float g = upstream.Row(i)[c];
                            dScore += g * v1.Row(a)[c] * v2.Row(b)[c];
                            Gradient.Values[0].Row(a)[c] += p * g * v2.Row(b)[c];
                            Gradient.Values[1].Row(b)[c] += p * g * v1.Row(a)[c];
                        }

                        dScore *= p * x.Scale;
                        for (int l = 0; l < width; l++)
                        {
                            (float q, float left, float right) = (x.Queries.Row(i)[l], k1.Row(a)[l], k2.Row(b)[l]);
                            Gradient.Queries.Row(i)[l] += dScore * left * right;
                            Gradient.Keys[0].Row(a)[l] += dScore * q * right;
                            Gradient.Keys[1].Row(b)[l] += dScore * q * left;
                        }
                    }
                }
            }
        }

        public TensorGradient Gradient => _room.Gradient;

        public void Dispose() => _room.Dispose();
    }
}
