using System.Numerics.Tensors;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

// The passes over a head: sums over chunks of keys, what follows from them, and the rows. The bounds stand beside the proof.
internal sealed partial class FlatPath
{
    /// <summary>The largest q0.k' of a chunk.</summary>
    private void Scores(int chunk)
    {
        int start = chunk * Chunk, count = Math.Min(Chunk, _head.Keys.Rows - start);
        using FlatWorkspace work = Rent();
        Span<float> key = work.Keys.Span()[..KeyStride];
        ReadOnlySpan<float> pilot = _head.QueryMean, mean = _head.KeyMean;
        float most = float.NegativeInfinity;
        for (int t = start; t < start + count; t++)
        {
            RowVectors.Shift(_head.Keys.Row(t), 1, mean, key);
            most = Math.Max(most, TensorPrimitives.Dot(key, pilot));
        }

        _chunkMaxima[chunk] = most;
    }

    /// <summary>Sums over one chunk, part by part while it is in the cache: w k' v^T, w k' k'^T, w k', w v.</summary>
    private void Moments(int chunk)
    {
        int start = chunk * Chunk, end = Math.Min(start + Chunk, _head.Keys.Rows), keyStride = KeyStride, valueStride = ValueStride;
        using FlatWorkspace work = Rent();
        Span<float> sums = _moments.Span((long)chunk * Moment, Moment);
        sums.Clear();
        Span<float> products = sums[..(keyStride * valueStride)], squares = sums.Slice(products.Length, keyStride * Columns);
        Span<float> firsts = sums[(products.Length + squares.Length)..];
        Span<float> all = stackalloc float[Part];
        float longest = 0;
        double total = 0;
        for (; start < end; start += Part)
        {
            int count = Math.Min(Part, end - start);
            Matrix keys = _head.Keys, weighed = keys, values = _head.Values;
            Span<float> weights = all[..(_plain ? 0 : count)];
            if (_plain)
            {
                keys = weighed = keys.SliceRows(start, count);
                total += count;
            }
            else
            {
                keys = work.Keys.Matrix(count, keyStride);
                weighed = work.Weighed.Matrix(count, keyStride);
                longest = Math.Max(longest, Weigh(start, keys, weighed, weights));
                foreach (float weight in weights)
                {
                    total += weight;
                }
            }

            if (values.Columns == valueStride)
            {
                values = values.SliceRows(start, count);
            }
            else
            {
                values = work.Values.Matrix(count, valueStride);
                for (int t = 0; t < count; t++)
                {
                    _head.Values.Row(start + t).CopyTo(values.Row(t));
                }
            }

            RowVectors.AddProduct(weighed, values, products);
            if (_parts == 1)
            {
                RowVectors.AddProduct(weighed, keys, squares);
            }
            else
            {
                RowVectors.AddDiagonalProducts(weighed, keys, squares);
            }

            RowVectors.AddRows(weighed, [], firsts[..keyStride]);
            RowVectors.AddRows(values, weights, firsts[keyStride..]);
        }

        (_chunkSquares[chunk], _chunkWeights[chunk]) = (longest, total);
    }

    /// <summary>Keys less their mean, their weights, and both multiplied.</summary>
    /// <returns>The largest |k'|^2.</returns>
    private float Weigh(int start, Matrix keys, Matrix weighed, Span<float> weights)
    {
        float longest = 0;
        for (int t = 0; t < weights.Length; t++)
        {
            longest = Math.Max(longest, RowVectors.Shift(_head.Keys.Row(start + t), 1, _head.KeyMean, keys.Row(t)));
        }

        RowVectors.Products(keys.Span(), _head.QueryMean, weights);
        for (int t = 0; t < weights.Length; t++)
        {
            weights[t] = Math.Max(weights[t] - _largest, -80);
        }

        kernels.Exp(weights, weights);
        for (int t = 0; t < weights.Length; t++)
        {
            TensorPrimitives.Multiply(keys.Row(t), weights[t], weighed.Row(t));
        }

        return longest;
    }

    private const int JoinLength = 1024;

    private void Join(int task)
    {
        int start = task * JoinLength, count = Math.Min(JoinLength, Moment - start);
        Span<double> sums = _sums.AsSpan(start, count);
        sums.Clear();
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            RowVectors.AddWidened(_moments.Span(((long)chunk * Moment) + start, count), sums);
        }
    }

    /// <summary>A, J / mh, Sigma and the bound on the largest eigenvalue of its blocks.</summary>
    private bool Centre()
    {
        double weight = 0;
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            weight += _chunkWeights[chunk];
        }

        int keyStride = KeyStride, valueStride = ValueStride, columns = Columns;
        ReadOnlySpan<double> products = _sums.AsSpan(0, keyStride * valueStride), squares = _sums.AsSpan(products.Length, keyStride * columns);
        ReadOnlySpan<double> keys = _sums.AsSpan(products.Length + squares.Length, keyStride);
        ReadOnlySpan<double> values = _sums.AsSpan(products.Length + squares.Length + keyStride, valueStride);
        double inverse = 1 / weight;
        _deviation = 0;
        Span<float> means = Mean.Row(0);
        for (int c = 0; c < ValueWidth; c++)
        {
            double mean = values[c] * inverse;
            means[c] = (float)mean;
            _deviation = Math.Max(_deviation, Math.Max(_head.ColumnMost[c] - mean, mean - _head.ColumnLeast[c]));
        }

        double square = 0;
        Span<float> sigma = Sigma.Span();
        sigma.Clear();
        _lambda = 0;
        Span<double> own = stackalloc double[Math.Max(keyStride, valueStride)];
        for (int part = 0; part < _parts; part++)
        {
            double trace = 0;
            int first = part * columns;
            for (int i = first; i < first + columns; i++)
            {
                double c = keys[i] * inverse;
                square += c * c;
                Span<double> row = own[..columns];
                TensorPrimitives.Multiply(keys.Slice(first, columns), -c, row);
                TensorPrimitives.Add(row, squares.Slice(i * columns, columns), row);
                TensorPrimitives.Multiply(row, inverse, row);
                TensorPrimitives.ConvertTruncating<double, float>(row, sigma.Slice((i * keyStride) + first, columns));

                // The lower triangle stands for both, so that the matrix is symmetric to the bit.
                for (int l = first; l < i; l++)
                {
                    sigma[(l * keyStride) + i] = sigma[(i * keyStride) + l];
                }

                trace += Math.Max(0, sigma[(i * keyStride) + i]);
            }

            double largest = LargestEigenvalue(Sigma.SliceRows(part * columns, columns).SliceColumns(part * columns, columns), trace);
            _lambda = double.IsNaN(largest) ? largest : Math.Max(_lambda, largest * _parts);
        }

        _centreRadius = _keyRadius + Math.Min(_keyRadius, (Math.Sqrt(square) * (1 + 1e-6)) + (ExactAttention.Gamma(Terms) * _keyRadius));
        double longest = _head.LongestQuery + _pilotLength, b = longest * _centreRadius;
        double most = b <= WidestX ? ExpRemainder.Psi(b) * _lambda * longest * longest / 2 : 0;
        _factor = (float)((1 + (1 / (1 + most))) / 2);
        Span<double> steepness = stackalloc double[ValueWidth];
        steepness.Clear();
        for (int i = 0; i < Width; i++)
        {
            Span<double> row = own[..ValueWidth];
            TensorPrimitives.Multiply(values[..ValueWidth], -keys[i] * inverse, row);
            TensorPrimitives.Add(row, products.Slice(i * valueStride, ValueWidth), row);
            TensorPrimitives.Multiply(row, inverse, row);
            TensorPrimitives.MultiplyAdd(row, row, steepness, steepness);
            TensorPrimitives.Multiply(row, _factor, row);
            TensorPrimitives.ConvertTruncating<double, float>(row, J.Row(i));
        }

        _steepness = Math.Sqrt(TensorPrimitives.Max<double>(steepness)) * (1 + 1e-6);
        return double.IsFinite(_lambda) && double.IsFinite(_deviation) && double.IsFinite(_steepness);
    }

    /// <summary>tr(B) |(B / tr B)^8|_F^(1/8) by three squarings, at least the largest eigenvalue of a symmetric B.</summary>
    private double LargestEigenvalue(Matrix block, double trace)
    {
        int width = block.Columns;
        if (!(trace > 1e-30))
        {
            return trace;
        }

        HeadMeasure.Resize(ref _powers, 2 * width * width);
        Span<double> power = _powers.AsSpan(0, width * width), square = _powers.AsSpan(width * width, width * width);
        for (int i = 0; i < width; i++)
        {
            Span<double> row = power.Slice(i * width, width);
            TensorPrimitives.ConvertTruncating<float, double>(block.Row(i), row);
            TensorPrimitives.Multiply(row, 1 / trace, row);
        }

        for (int step = 0; step < 3; step++)
        {
            RowVectors.Square(power, width, square);
            Span<double> spare = power;
            power = square;
            square = spare;
        }

        return trace * Math.Pow(TensorPrimitives.Norm<double>(power), 1.0 / 8) * (1 + 1e-6);
    }

    /// <summary>A + J^T u for queries as they are.</summary>
    private void Products(int block)
    {
        int start = block * QueryBlock, count = Math.Min(QueryBlock, _head.Queries.Rows - start);
        RowVectors.Multiply(_head.Queries.SliceRows(start, count), J.Span(), Mean.Row(0), _outcomes.Output.SliceRows(start, count));
    }

    private void Answers(int block)
    {
        int start = block * QueryBlock, count = Math.Min(QueryBlock, _head.Queries.Rows - start), stride = KeyStride;
        using FlatWorkspace work = Rent();
        Matrix u = new(work.Queries, 0, count, Width, stride), output = _outcomes.Output.SliceRows(start, count);
        Span<float> all = work.Queries.Span();
        Span<float> squares = stackalloc float[QueryBlock];
        for (int t = 0; t < count; t++)
        {
            squares[t] = RowVectors.Shift(_head.Queries.Row(start + t), _head.Scale, Pilot, all.Slice(t * stride, stride));
        }

        kernels.Gemm(u, _packedJ!, output, new GemmOptions { Bias = Mean });
        double longest = LengthOf(TensorPrimitives.Max<float>(squares[..count]));
        bool together = TryBound(_lambda * longest * longest, longest, double.NaN, out double bound);
        for (int t = 0; t < count; t++)
        {
            if (together || TryRow(squares[t], all.Slice(t * stride, stride), output.Row(t), out bound))
            {
                _outcomes.SetFlat(start + t, bound);
            }
        }
    }
}
