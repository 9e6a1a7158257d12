using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention.HigherOrder;

/// <content>The gradient.</content>
public sealed partial class ExactTensorAttention
{
    // Gradients of keys and values are summed in so many parts, whatever the number of threads.
    private const int MaxParts = 16;

    /// <summary>Adds the gradient of sum(dOutput * O). As forward, one prefix after the other: with w its share of the weights of query i and o its
    /// result, the gradient of ordinary attention for dO = w do_i v1 v2 … gives those of q k1 k2 … and of the last set, and the product rule
    /// carries the former on. Ordinary attention subtracts dO.o from the slopes of its scores where w do_i.o_i is right; the
    /// difference e times its weights P is made good by e P K, K averaged beside the values, and P^T (e q), a gradient of values that are 0.</summary>
    /// <param name="input">The call.</param>
    /// <param name="dOutput">(L, d_v).</param>
    /// <param name="gradient">Added to.</param>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public void Backward(in TensorInput input, Matrix dOutput, in TensorGradient gradient)
    {
        input.Check(dOutput, gradient);
        int queries = input.Queries.Rows;
        if (queries == 0)
        {
            return;
        }

        int parts = Math.Min(queries, MaxParts);
        int length = input.KeyCount * (input.Queries.Columns + input.ValueWidth);
        using Scratch scratch = Scratch.Rent((long)parts * length);
        Matrix sums = scratch.Buffer.Matrix(parts, length);
        var body = new BackwardBody(kernels, input, dOutput, gradient, sums);
        kernels.Pool.Run(parts, ref body);
        for (int part = 0; part < parts; part++)
        {
            int offset = 0;
            foreach (Matrix target in gradient.Keys.Concat(gradient.Values))
            {
                for (int j = 0; j < target.Rows; j++, offset += target.Columns)
                {
                    TensorPrimitives.Add(target.Row(j), sums.Row(part).Slice(offset, target.Columns), target.Row(j));
                }
            }
        }
    }

    private readonly struct BackwardBody(KernelSet kernels, TensorInput input, Matrix dOutput, TensorGradient gradient, Matrix sums) : IParallelBody
    {
        public void Invoke(int task)
        {
            Matrix part = sums.SliceRows(task, 1);
            part.Span().Clear();
            long offset = part.Offset;
            Matrix[] dKeys = [.. input.Keys.Select(keys => Take(keys))];
            Matrix[] dValues = [.. input.Values.Select(values => Take(values))];
            int queries = input.Queries.Rows, keys = input.Keys[^1].Rows, valueWidth = input.ValueWidth, columns = valueWidth + input.Queries.Columns;
            using Scratch scratch = Scratch.Rent(3L * keys * columns);
            scratch.Buffer.Span(0, 3 * keys * columns).Clear();
            var last = new LastSet(
                scratch.Buffer.Matrix(keys, columns), scratch.Buffer.Matrix(keys, columns, (long)keys * columns), scratch.Buffer.Matrix(keys, columns, 2L * keys * columns));
            for (int j = 0; j < keys; j++)
            {
                input.Values[^1].Row(j).CopyTo(last.ValuesAndKeys.Row(j));
                input.Keys[^1].Row(j).CopyTo(last.ValuesAndKeys.Row(j)[valueWidth..]);
                input.Values[^1].Row(j).CopyTo(last.ValuesAndZeros.Row(j));
            }

            for (int i = (int)((long)task * queries / sums.Rows); i < (int)((task + 1L) * queries / sums.Rows); i++)
            {
                Query(i, last, dKeys, dValues);
            }

            for (int j = 0; j < keys; j++)
            {
                TensorPrimitives.Add(dValues[^1].Row(j), last.Gradient.Row(j)[..valueWidth], dValues[^1].Row(j));
                TensorPrimitives.Add(dKeys[^1].Row(j), last.Gradient.Row(j)[valueWidth..], dKeys[^1].Row(j));
            }

            Matrix Take(Matrix like)
            {
                var matrix = new Matrix(part.Buffer, offset, like.Rows, like.Columns, like.Columns);
                offset += (long)like.Rows * like.Columns;
                return matrix;
            }
        }

        private void Query(int i, in LastSet last, Matrix[] dKeys, Matrix[] dValues)
        {
            int width = input.Queries.Columns, valueWidth = input.ValueWidth, columns = width + valueWidth;
            long tuples = input.PrefixTuples;
            int rows = (int)Math.Min(tuples, RowsPerBlock);
            using Scratch scratch = Scratch.Rent((2L * valueWidth) + ((long)rows * (width + columns)));
            Span<double> numerators = MemoryMarshal.Cast<float, double>(scratch.Buffer.Span(0, 2 * valueWidth));
            Matrix dRows = scratch.Buffer.Matrix(rows, width, 2L * valueWidth);
            Matrix dResults = scratch.Buffer.Matrix(rows, columns, (2L * valueWidth) + ((long)rows * width));
            ReadOnlySpan<float> upstream = dOutput.Row(i);
            (double max, double sum) = Sum(kernels, input, i, numerators);
            double along = 0;
            for (int c = 0; c < valueWidth; c++)
            {
                along += upstream[c] * numerators[c] / sum;
            }

            using var block = new PrefixBlock(input, rows, last.ValuesAndKeys);
            for (long first = 0; first < tuples; first += rows)
            {
                int count = (int)Math.Min(rows, tuples - first);
                block.Attend(kernels, input, i, first, count);
                ReadOnlySpan<double> weights = block.Weights(count, max);
                for (int a = 0; a < count; a++)
                {
                    double share = weights[a] / sum, missing = -along;
                    Span<float> row = dResults.Row(a);
                    for (int c = 0; c < valueWidth; c++)
                    {
                        double g = upstream[c] * (double)block.Values.Row(a)[c];
                        row[c] = (float)(share * g);
                        missing += g * block.Results.Row(a)[c];
                    }

                    float factor = (float)(input.Scale * share * missing);
                    TensorPrimitives.Multiply(block.Queries.Row(a), factor, row[valueWidth..]);
                    TensorPrimitives.Multiply(block.Results.Row(a)[valueWidth..], factor, dRows.Row(a));
                }

                kernels.AttentionGradient(
                    Head(block.Queries, count), Head(input.Keys[^1], input.Keys[^1].Rows), Head(last.ValuesAndZeros, last.ValuesAndZeros.Rows), Head(dResults, count),
                    input.Scale, Head(dRows, count), Head(dKeys[^1], dKeys[^1].Rows), Head(last.Gradient, last.Gradient.Rows));
                for (int a = 0; a < count; a++)
                {
                    Prefix(i, first + a, dRows.Row(a), (float)(weights[a] / sum), block.Results.Row(a)[..valueWidth], dKeys, dValues);
                }
            }

            static HeadTensor Head(Matrix matrix, int rows) => HeadTensor.Interleaved(matrix.SliceRows(0, rows), 1, 1);
        }

        /// <summary>The product rule: from the gradient of q k1 k2 … to those of its factors, and the same for values.</summary>
        private void Prefix(int i, long prefix, ReadOnlySpan<float> dRow, float share, ReadOnlySpan<float> result, Matrix[] dKeys, Matrix[] dValues)
        {
            int sets = dKeys.Length - 1;
            ReadOnlySpan<float> query = input.Queries.Row(i);
            ReadOnlySpan<float> upstream = dOutput.Row(i);
            using Scratch scratch = Scratch.Rent(Math.Max(query.Length, upstream.Length));
            Span<float> product = scratch.Buffer.Span(0, query.Length);
            for (int without = -1; without < sets; without++)
            {
                dRow.CopyTo(product);
                if (without >= 0)
                {
                    TensorPrimitives.Multiply(product, query, product);
                }

                Others(input.Keys, prefix, without, product);
                Add(product, without < 0 ? gradient.Queries.Row(i) : dKeys[without].Row(PrefixBlock.KeyOf(input, prefix, without)));
            }

            product = scratch.Buffer.Span(0, upstream.Length);
            for (int without = 0; without < sets; without++)
            {
                TensorPrimitives.Multiply(upstream, result, product);
                TensorPrimitives.Multiply(product, share, product);
                Others(input.Values, prefix, without, product);
                Add(product, dValues[without].Row(PrefixBlock.KeyOf(input, prefix, without)));
            }

            static void Add(ReadOnlySpan<float> term, Span<float> sum) => TensorPrimitives.Add(sum, term, sum);
        }

        private void Others(IReadOnlyList<Matrix> factors, long prefix, int without, Span<float> product)
        {
            for (int s = 0; s < factors.Count - 1; s++)
            {
                if (s != without)
                {
                    TensorPrimitives.Multiply(product, factors[s].Row(PrefixBlock.KeyOf(input, prefix, s)), product);
                }
            }
        }
    }

    /// <summary>The last set of one task: values beside keys and beside zeros, and the gradient with respect to the latter, (S, d_v + d) each.</summary>
    private readonly record struct LastSet(Matrix ValuesAndKeys, Matrix ValuesAndZeros, Matrix Gradient);
}
