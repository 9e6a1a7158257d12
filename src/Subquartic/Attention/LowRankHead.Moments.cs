using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Attention;

/// <content>The passes that compute: keys into moments, moments into answers.</content>
internal sealed partial class LowRankHead
{
    /// <summary>Adds the features of the keys of a task: sums[task] = sum_j k_j^alpha w_j [v_j - v0 | 1].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SumKeys(int task)
    {
        BlockWorkspace work = scratch.Rent();
        int width = _map.Width;
        int columns = ColumnCount;
        int features = Basis!.Count;
        Span<double> total = scratch.Sums.AsSpan(task * features * columns, features * columns);
        total.Clear();
        Span<float> sums = work.Sums(MonomialKernels.SumsLength(features, columns));
        Span<float> raw = work.Raw(Math.Max(_map.InputWidth, _values.Columns));
        Span<float> coordinates = work.Coordinates(width);
        Span<float> weighted = work.Values(columns);
        Span<float> monomials = work.Features(features);
        Span<float> weights = weighted.Slice(_values.Columns * Block, Block);
        int first = _first + (task * _taskTokens);
        int end = Math.Min(_keys.Rows, first + _taskTokens);
        for (int start = first; start < end; start += Block)
        {
            int count = Math.Min(Block, end - start);
            if ((start - first) % SumTokens == 0)
            {
                sums.Clear();
            }

            MonomialKernels.Gather(_keys, start, count, raw);
            _map.LoadKeys(raw, coordinates, work.Work(width + 1), []);
            for (int l = 0; l < width && count < Block; l++)
            {
                // Zeros lie anywhere from the centre: their monomials might overflow, and infinity times no weight is no number.
                coordinates.Slice((l * Block) + count, Block - count).Clear();
            }

            weighted[(_values.Columns * Block)..].Clear(); // tokens and columns beyond the last add nothing
            Weigh(start, count, weights);
            MonomialKernels.Gather(_values, start, count, raw);
            for (int c = 0; c < _values.Columns; c++)
            {
                WeighValues(raw.Slice(c * Block, Block), _valueCentre[c], weights, weighted.Slice(c * Block, Block));
            }

            if (_outliers.Count > 0)
            {
                Leave(start, count, coordinates, weighted);
            }

            MonomialKernels.Fill(Basis.Runs, coordinates, monomials);
            MonomialKernels.Add(features, monomials, columns, weighted, sums);
            if ((start - first + Block) % SumTokens == 0 || start + Block >= end)
            {
                MonomialKernels.Join(sums, features, columns, total);
            }
        }

        scratch.Return(work);
    }

    /// <summary>Makes the outliers of a block vanish.</summary>
    private void Leave(int start, int count, Span<float> coordinates, Span<float> weighted)
    {
        for (int t = 0; t < count; t++)
        {
            if (scratch.IsOutlier[start + t])
            {
                for (int n = t; n < coordinates.Length; n += Block)
                {
                    coordinates[n] = 0;
                }

                for (int n = t; n < weighted.Length; n += Block)
                {
                    weighted[n] = 0;
                }
            }
        }
    }

    /// <summary>w_j of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Weigh(int start, int count, Span<float> weights)
    {
        if (!options.Reductions.QueryCentring)
        {
            weights[..count].Fill(1);
            return;
        }

        Span<double> exponents = stackalloc double[Block];
        TensorPrimitives.Subtract(scratch.Exponents.AsSpan(start, count), _maxExponent, exponents);
        TensorPrimitives.Exp<double>(exponents[..count], exponents);
        TensorPrimitives.ConvertTruncating<double, float>(exponents[..count], weights);
    }

    /// <summary>Computes the rows of one block of queries from the moments.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AnswerBlock(int task)
    {
        (int place, int count, int degree) = _blocks[task];
        ReadOnlySpan<int> rows = scratch.Order.AsSpan(place, count);
        BlockWorkspace work = scratch.Rent();
        int width = _map.Width;
        int columns = ColumnCount;
        int features = Basis!.Start(degree + 1);
        Span<float> raw = work.Raw(_map.InputWidth);
        Span<float> coordinates = work.Coordinates(width);
        MonomialKernels.Gather(_queries, rows, raw);
        _map.LoadQueries(raw, _scale, coordinates, work.Work(width + 1), []);
        Span<float> coefficients = work.Coefficients(degree + 1);
        coefficients.Clear();
        for (int t = 0; t < count; t++)
        {
            ReadOnlySpan<float> own = scratch.Plan.Coefficients(scratch.Classes[rows[t]]);
            for (int m = 0; m < own.Length; m++)
            {
                coefficients[(m * Block) + t] = own[m];
            }
        }

        Span<float> monomials = work.Features(features);
        Span<float> result = work.Values(columns);
        MonomialKernels.Fill(Basis.Runs[..(degree * width)], coordinates, monomials);
        MonomialKernels.Evaluate(monomials, Basis.Starts[..(degree + 2)], scratch.Moments, columns, coefficients, result);
        ReadOnlySpan<float> weights = result.Slice(_values.Columns * Block, Block);
        if (_outliers.Count > 0)
        {
            AddOutliers(coordinates, count, result, work);
        }
        else
        {
            for (int c = 0; c < _values.Columns; c++)
            {
                Divide(result.Slice(c * Block, Block), weights, _valueCentre[c]);
            }
        }

        MonomialKernels.Scatter(result, rows, _output);
        scratch.Return(work);
    }

    /// <summary>Adds the exact terms of the outlier keys in double, and divides.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddOutliers(ReadOnlySpan<float> coordinates, int count, Span<float> result, BlockWorkspace work)
    {
        int columns = _values.Columns + 1;
        Span<double> sums = work.Work(columns + 1);
        Span<double> weights = sums.Slice(columns * Block, Block);
        TensorPrimitives.ConvertTruncating<float, double>(result[..(columns * Block)], sums);
        double unit = (double)_valueFactors[0] * _valueFactors[1];
        for (int n = 0; n < _outliers.Count; n++)
        {
            weights.Fill(_outlierExponents[n] - _maxExponent);
            for (int l = 0; l < _map.Width; l++)
            {
                AddScaled(coordinates.Slice(l * Block, Block), _outlierCoordinates[(l * Block) + n], weights);
            }

            TensorPrimitives.Exp<double>(weights, weights);
            ReadOnlySpan<float> value = _values.Row(_outliers[n]);
            for (int c = 0; c < columns; c++)
            {
                Span<double> sum = sums.Slice(c * Block, Block);
                TensorPrimitives.MultiplyAdd(weights, c == value.Length ? 1 : ((double)value[c] - _valueCentre[c]) * unit, sum, sum);
            }
        }

        for (int c = 0; c < _values.Columns; c++)
        {
            for (int t = 0; t < count; t++)
            {
                result[(c * Block) + t] = (float)((sums[(c * Block) + t] / sums[((columns - 1) * Block) + t] / unit) + _valueCentre[c]);
            }
        }
    }
}
