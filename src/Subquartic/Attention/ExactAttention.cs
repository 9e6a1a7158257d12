using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Attention computed in full: every query meets every key, in float32, without ever holding the score matrix. It is
/// the fast path of the models and what faster strategies are measured against.</summary>
/// <param name="kernels">The kernels, and with them the vector width and the threads.</param>
/// <remarks>Cost 2 L S (c + c_v) floating-point operations a head. A NaN among the values of a query or of any key gives NaN, a
/// NaN in a value in its column.</remarks>
public sealed class ExactAttention(KernelSet kernels) : IAttention
{
    internal const double UnitRoundoff = 1.0 / (1 << 24);

    // Beyond it the lengths of queries and keys may be misleading, and their coordinates are looked at too.
    private const double LargeScore = 1000;

    /// <inheritdoc/>
    public string Name => "exact";

    /// <summary>A bound on the rounding error of any output of <see cref="Attend"/>, in units of V.</summary>
    /// <param name="input">Queries, keys, values and scale.</param>
    /// <returns>max |o - o*|, o* in exact arithmetic, is at most this; about
    /// 2 max|V| u ((2c + 5) Scale |q| |k| + 2 n + 8 S/n) with u = 2^-24, the longest query and key (or, where their product is large, the sum over coordinates of the largest of both), and
    /// n = <see cref="KernelSet.AttentionKeyBlock"/>. NaN or infinity when the input is not finite,
    /// infinity also when S max|V| is near the end of the range of float32.</returns>
    /// <remarks>Weights within a factor 1 + e of the exact ones change an output by at most 2 e max|V|. Here e collects the
    /// score, rounded c times (2c without a fused multiply-add), thrice through the factor Scale * log2(e) and twice where the
    /// maximum is subtracted; 2^x, within 2u; and, for each of S/n blocks, another such power and product, within 4u. The sums of
    /// weights and of values add gamma of the keys of a block and of the blocks each, the division and a last rounding 3u. Products
    /// of weights, at most 1, and values below the normal numbers add 2^-150 a key, and the last rounding as much.</remarks>
    public static double RoundingBound(in AttentionInput input)
    {
        double longest = Math.Abs(input.Scale) * LongestRow(input.Queries) * LongestRow(input.Keys);
        if (longest > LargeScore)
        {
            longest = Math.Min(longest, Math.Abs(input.Scale) * Box(input.Queries, input.Keys)); // keeps a NaN
        }

        return RoundingBound(input.Queries.Width, input.Keys.Rows, longest, LargestValue(input.Values));
    }

    /// <summary><see cref="RoundingBound(in AttentionInput)"/> from what it depends on.</summary>
    /// <param name="width">c.</param>
    /// <param name="keys">S.</param>
    /// <param name="longest">At least |Scale| |q| |k| for all queries and keys.</param>
    /// <param name="largest">max|V|.</param>
    /// <returns>The bound, in units of V.</returns>
    internal static double RoundingBound(int width, int keys, double longest, double largest)
    {
        double weights = Math.Exp(Gamma((2 * width) + 5) * longest) * (1 + ((2 + (4 * Blocks(keys))) * UnitRoundoff)) - 1;
        if (largest * keys > float.MaxValue / 2)
        {
            return double.PositiveInfinity; // the sum of weighted values may overflow before it is divided
        }

        return (((2 * weights) + Sums(keys) + (3 * UnitRoundoff)) * largest) + ((keys + 1) * (double)float.Epsilon);
    }

    /// <summary>The relative error that the sums over keys, of weights and of weighted values, add to an output.</summary>
    internal static double Sums(int keys) => 2 * (Gamma(2 * Math.Min(KernelSet.AttentionKeyBlock, keys)) + Gamma(2 * Blocks(keys)));

    /// <summary>Blocks that the kernel adds up.</summary>
    internal static int Blocks(int keys) => (keys + KernelSet.AttentionKeyBlock - 1) / KernelSet.AttentionKeyBlock;

    /// <summary>The relative error of n roundings (Higham 2002, lemma 3.1).</summary>
    internal static double Gamma(int n) => n * UnitRoundoff / (1 - (n * UnitRoundoff));

    /// <inheritdoc/>
    public Certificate Attend(in AttentionInput input, HeadTensor output)
    {
        kernels.Attention(input.Queries, input.Keys, input.Values, input.Scale, output);
        return Certificate.Exact(input);
    }

    /// <summary>sum_l max|q_l| max|k_l|, which bounds the sum of |q_l k_l| that rounding of a score is relative to.</summary>
    private static double Box(HeadTensor queries, HeadTensor keys)
    {
        float[] q = Largest(queries), k = Largest(keys);
        double sum = 0;
        for (int l = 0; l < q.Length; l++)
        {
            sum += (double)q[l] * k[l];
        }

        return sum;

        static float[] Largest(HeadTensor x)
        {
            var largest = new float[x.Width];
            for (int head = 0; head < x.Batch * x.Heads; head++)
            {
                Matrix rows = x[head / x.Heads, head % x.Heads];
                for (int i = 0; i < rows.Rows; i++)
                {
                    TensorPrimitives.MaxMagnitude(largest, rows.Row(i), largest);
                }
            }

            TensorPrimitives.Abs(largest, largest);
            return largest;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double LongestRow(HeadTensor x)
    {
        double longest = 0;
        for (int head = 0; head < x.Batch * x.Heads; head++)
        {
            Matrix rows = x[head / x.Heads, head % x.Heads];
            for (int i = 0; i < rows.Rows; i++)
            {
                double sum = 0;
                foreach (float value in rows.Row(i))
                {
                    sum += (double)value * value;
                }

                longest = Math.Max(longest, sum);
            }
        }

        return Math.Sqrt(longest);
    }

    private static double LargestValue(HeadTensor x)
    {
        float largest = 0;
        for (int head = 0; head < x.Batch * x.Heads; head++)
        {
            Matrix rows = x[head / x.Heads, head % x.Heads];
            if (rows.IsContiguous && rows.Rows > 0)
            {
                largest = Math.Max(largest, Math.Abs(TensorPrimitives.MaxMagnitude<float>(rows.Span())));
                continue;
            }

            for (int i = 0; i < rows.Rows; i++)
            {
                largest = Math.Max(largest, Math.Abs(TensorPrimitives.MaxMagnitude<float>(rows.Row(i))));
            }
        }

        return largest;
    }
}
