using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention.HigherOrder;

/// <summary>Tensor attention computed in full, on the attention kernels: with the keys of all sets but the last fixed, it is ordinary
/// attention of the query q k1 k2 … (elementwise) over the last set, and the results of these are joined by the sums of their
/// weights. The n^(k-1) weights of a query never exist.</summary>
/// <param name="kernels">The kernels, and with them the vector width and the threads.</param>
/// <remarks>L S_1 … S_(k-1) (d + d_v) multiply-adds and as many exponentials. What is summed over prefixes is summed in double.</remarks>
public sealed partial class ExactTensorAttention(KernelSet kernels)
{
    private const double UnitRoundoff = 1.0 / (1 << 24);

    // Rows of fixed prefixes that go to the kernel at once: enough to fill it, and their results stay in the cache.
    private const int RowsPerBlock = 512;

    /// <summary>A bound on the rounding error of any output of <see cref="Attend"/>, in units of the product of values.</summary>
    /// <param name="input">The call.</param>
    /// <returns>max |o - o*|, o* in exact arithmetic, is at most this. NaN or infinity when the input is not finite or leaves the range
    /// of float32 in between.</returns>
    /// <remarks>As <c>ExactAttention.RoundingBound</c>: a prefix multiplies k - 2 times more into each coordinate of the query,
    /// each rounded once, which adds k - 2 roundings to those of a score. Joined with the statistics of the kernel, the result of a
    /// prefix counts with exactly the sum of weights that it was divided by, so that quotient and product cancel but for 4u, and the sums over
    /// prefixes, in double, add a relative 2^-50 times their number. Products of q and k below the normal numbers move a score by at most
    /// k d 2^-149 times what the other factors can multiply them with.</remarks>
    public static double RoundingBound(in TensorInput input)
    {
        int order = input.Order, width = input.Queries.Columns, keys = input.Keys[^1].Rows;
        int blocks = (keys + KernelSet.AttentionKeyBlock - 1) / KernelSet.AttentionKeyBlock;
        double[] maxima = [.. Enumerable.Repeat(1.0, width)];
        double factors = Math.Max(1, Math.Abs(input.Scale)), prefix = Math.Abs(Largest(input.Queries));
        for (int s = 0; s < input.Keys.Count; s++)
        {
            double largest = 0;
            for (int l = 0; l < width; l++)
            {
                double column = LargestOf(input.Keys[s], l);
                maxima[l] *= column;
                largest = Math.Max(largest, column);
            }

            factors *= Math.Max(1, largest);
            prefix = s < input.Keys.Count - 1 ? Math.Max(prefix, prefix * largest) : prefix;
        }

        double box = 0;
        for (int i = 0; i < input.Queries.Rows; i++)
        {
            double sum = 0;
            for (int l = 0; l < width; l++)
            {
                sum += Math.Abs((double)input.Queries.Row(i)[l]) * maxima[l];
            }

            box = Math.Max(box, sum); // keeps a NaN
        }

        box *= Math.Abs(input.Scale);
        double others = 1;
        for (int s = 0; s < input.Values.Count - 1; s++)
        {
            others *= Largest(input.Values[s]);
        }

        double last = Largest(input.Values[^1]), product = others * last;
        if (!(prefix * Math.Max(1, Math.Abs(input.Scale)) < float.MaxValue / 4 && box < float.MaxValue / 4 && last * keys < float.MaxValue / 2 && product < float.MaxValue / 2))
        {
            return double.PositiveInfinity;
        }

        double scores = (Gamma((2 * width) + 3 + order) * box) + (order * width * (double)float.Epsilon * factors);
        double weights = (Math.Exp(scores) * (1 + ((2 + (4 * blocks)) * UnitRoundoff))) - 1;
        double sums = 2 * (Gamma(2 * Math.Min(KernelSet.AttentionKeyBlock, keys)) + Gamma(2 * blocks));
        double joined = 4 * (input.PrefixTuples + order + 8) * Math.ScaleB(1, -52);
        return (((2 * weights) + sums + joined + (5 * UnitRoundoff)) * product) + ((keys + 2) * (double)float.Epsilon * Math.Max(1, others));
    }

    /// <summary>Computes tensor attention.</summary>
    /// <param name="input">The call.</param>
    /// <param name="output">O (L, d_v), overwritten; must not overlap the input.</param>
    /// <returns>The bound of <see cref="RoundingBound"/>.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public Certificate Attend(in TensorInput input, Matrix output)
    {
        input.Check(output);
        var body = new QueryBody(kernels, input, output);
        kernels.Pool.Run(input.Queries.Rows, ref body);
        double bound = RoundingBound(input);
        return new Certificate(
            double.IsNaN(bound) ? double.PositiveInfinity : bound, AttentionPath.Exact, "exact by choice", 1, 1, input.Queries.Rows, input.Queries.Rows);
    }

    /// <summary>The numerators of one query, relative to 2^max, and the sum of its weights.</summary>
    private static (double Max, double Sum) Sum(KernelSet kernels, in TensorInput input, int query, Span<double> numerators)
    {
        long tuples = input.PrefixTuples;
        int rows = (int)Math.Min(tuples, RowsPerBlock);
        using var block = new PrefixBlock(input, rows, input.Values[^1]);
        numerators.Clear();
        double max = double.NegativeInfinity, sum = 0;
        for (long first = 0; first < tuples; first += rows)
        {
            int count = (int)Math.Min(rows, tuples - first);
            block.Attend(kernels, input, query, first, count);
            double top = Math.Max(max, block.LargestScore(count));
            if (top != max && sum > 0)
            {
                double factor = Math.Exp((max - top) * Math.Log(2));
                sum *= factor;
                TensorPrimitives.Multiply(numerators, factor, numerators);
            }

            max = top;
            ReadOnlySpan<double> weights = block.Weights(count, max);
            for (int a = 0; a < count; a++)
            {
                sum += weights[a];
                ReadOnlySpan<float> result = block.Results.Row(a);
                ReadOnlySpan<float> values = block.Values.Row(a);
                for (int c = 0; c < numerators.Length; c++)
                {
                    numerators[c] += weights[a] * values[c] * result[c];
                }
            }
        }

        return (max, sum);
    }

    /// <summary>The relative error of n roundings (Higham 2002, lemma 3.1).</summary>
    private static double Gamma(int n) => n * UnitRoundoff / (1 - (n * UnitRoundoff));

    private static double Largest(Matrix x)
    {
        double largest = 0;
        for (int column = 0; column < x.Columns; column++)
        {
            largest = Math.Max(largest, LargestOf(x, column));
        }

        return largest;
    }

    private static double LargestOf(Matrix x, int column)
    {
        float largest = 0;
        for (int row = 0; row < x.Rows; row++)
        {
            largest = Math.Max(largest, Math.Abs(x.Row(row)[column])); // keeps a NaN
        }

        return largest;
    }

    private readonly struct QueryBody(KernelSet kernels, TensorInput input, Matrix output) : IParallelBody
    {
        public void Invoke(int task)
        {
            Span<float> row = output.Row(task);
            using Scratch scratch = Scratch.Rent(2 * row.Length);
            Span<double> numerators = MemoryMarshal.Cast<float, double>(scratch.Buffer.Span(0, 2 * row.Length));
            (_, double sum) = Sum(kernels, input, task, numerators);
            for (int c = 0; c < row.Length; c++)
            {
                row[c] = (float)(numerators[c] / sum);
            }
        }
    }
}
