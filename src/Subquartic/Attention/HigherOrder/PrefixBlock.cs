using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention.HigherOrder;

/// <summary>Some prefixes (tuples of all sets of keys but the last) of one query, and ordinary attention of them over the last set.
/// Tuples are numbered with the last set of the prefix fastest.</summary>
internal readonly ref struct PrefixBlock
{
    private readonly Scratch _scratch;
    private readonly Matrix _statistics;
    private readonly Span<double> _weights;
    private readonly Matrix _lastValues;

    /// <summary>Reserves memory.</summary>
    /// <param name="input">The call.</param>
    /// <param name="rows">Most prefixes at once.</param>
    /// <param name="lastValues">What is averaged over the last set: its values, or more columns beside them.</param>
    public PrefixBlock(in TensorInput input, int rows, Matrix lastValues)
    {
        int width = input.Queries.Columns, valueWidth = input.ValueWidth;
        _lastValues = lastValues;
        _scratch = Scratch.Rent((long)rows * (width + valueWidth + lastValues.Columns + 4));
        FloatBuffer memory = _scratch.Buffer;
        _weights = MemoryMarshal.Cast<float, double>(memory.Span(0, 2 * rows));
        _statistics = memory.Matrix(rows, 2, 2L * rows);
        Queries = memory.Matrix(rows, width, 4L * rows);
        Values = memory.Matrix(rows, valueWidth, (4L + width) * rows);
        Results = memory.Matrix(rows, lastValues.Columns, (4L + width + valueWidth) * rows);
    }

    /// <summary>q k1 k2 … of every prefix (rows, d).</summary>
    public Matrix Queries { get; }

    /// <summary>v1 v2 … of every prefix (rows, d_v).</summary>
    public Matrix Values { get; }

    /// <summary>Ordinary attention of every prefix over the last set (rows, columns of its values).</summary>
    public Matrix Results { get; }

    /// <summary>The key of one set in a prefix.</summary>
    public static int KeyOf(in TensorInput input, long prefix, int set)
    {
        for (int s = input.Keys.Count - 2; s > set; s--)
        {
            prefix /= input.Keys[s].Rows;
        }

        return (int)(prefix % input.Keys[set].Rows);
    }

    /// <summary>Computes prefixes [first, first + count).</summary>
    public void Attend(KernelSet kernels, in TensorInput input, int query, long first, int count)
    {
        for (int a = 0; a < count; a++)
        {
            Span<float> row = Queries.Row(a);
            Span<float> values = Values.Row(a);
            input.Queries.Row(query).CopyTo(row);
            values.Fill(1);
            for (int s = 0; s < input.Keys.Count - 1; s++)
            {
                int key = KeyOf(input, first + a, s);
                TensorPrimitives.Multiply(row, input.Keys[s].Row(key), row);
                TensorPrimitives.Multiply(values, input.Values[s].Row(key), values);
            }
        }

        kernels.Attention(
            Head(Queries, count), Head(input.Keys[^1], input.Keys[^1].Rows), Head(_lastValues, _lastValues.Rows), input.Scale,
            Head(Results, count), Head(_statistics, count));

        static HeadTensor Head(Matrix matrix, int rows) => HeadTensor.Interleaved(matrix.SliceRows(0, rows), 1, 1);
    }

    /// <summary>log2 of the largest weight of the first prefixes.</summary>
    public double LargestScore(int count)
    {
        double largest = double.NegativeInfinity;
        for (int a = 0; a < count; a++)
        {
            largest = Math.Max(largest, _statistics.Row(a)[0]);
        }

        return largest;
    }

    /// <summary>Sums of the weights of the first prefixes, relative to 2^max.</summary>
    public ReadOnlySpan<double> Weights(int count, double max)
    {
        Span<double> weights = _weights[..count];
        for (int a = 0; a < count; a++)
        {
            weights[a] = (_statistics.Row(a)[0] - max) * Math.Log(2);
        }

        TensorPrimitives.Exp(weights, weights);
        for (int a = 0; a < count; a++)
        {
            weights[a] *= _statistics.Row(a)[1];
        }

        return weights;
    }

    public void Dispose() => _scratch.Dispose();
}
