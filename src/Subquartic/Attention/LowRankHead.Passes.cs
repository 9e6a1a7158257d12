using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <content>The passes over the tokens, each a loop of independent tasks whose number depends on the shape alone.</content>
internal sealed partial class LowRankHead
{
    private const int WidestStretch = 256;

    // Per task of MeasureKeys: longest squared, least and largest exponent, largest squared residual; then extremes of coordinates.
    private const int KeyPartials = 4;

    private float[] _outlierCoordinates = [];

    private enum Pass
    {
        Extremes,
        QueryMeans,
        SurveyKeys,
        SurveyQueries,
        MeasureKeys,
        MeasureQueries,
        SumKeys,
        Answer,
    }

    private void Run(Pass pass, int tasks)
    {
        int columns = Math.Max(_keys.Columns, 2 * _map.Width) + _values.Columns + KeyPartials;
        LowRankScratch.Resize(ref scratch.Partials, Math.Max(KeyTasks, Math.Max(QueryTasks, 1)) * 2 * columns);
        var body = new PassBody(this, pass);
        kernels.Pool.Run(tasks, ref body);
    }

    /// <summary>Least and largest entry of every column of K and V, among the keys of a task.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void FindExtremes(int task)
    {
        int columns = _keys.Columns + _values.Columns;
        int first = _first + (task * _taskTokens);
        int end = Math.Min(_keys.Rows, first + _taskTokens);
        Scan(_keys, 0);
        Scan(_values, _keys.Columns);

        void Scan(Matrix rows, int column)
        {
            // Both operations keep a NaN.
            int together = RowsTogether(rows);
            int stretch = together * rows.Columns;
            Span<float> lows = stackalloc float[Math.Max(WidestStretch, stretch)];
            Span<float> highs = stackalloc float[Math.Max(WidestStretch, stretch)];
            lows.Fill(float.PositiveInfinity);
            highs.Fill(float.NegativeInfinity);
            int j = first;
            for (; j + together <= end; j += together)
            {
                ReadOnlySpan<float> some = together == 1 ? rows.Row(j) : rows.SliceRows(j, together).Span();
                TensorPrimitives.Min(lows[..stretch], some, lows);
                TensorPrimitives.Max(highs[..stretch], some, highs);
            }

            for (; j < end; j++)
            {
                TensorPrimitives.Min(lows[..rows.Columns], rows.Row(j), lows);
                TensorPrimitives.Max(highs[..rows.Columns], rows.Row(j), highs);
            }

            for (int c = 0; c < rows.Columns; c++)
            {
                (float low, float high) = (lows[c], highs[c]);
                for (int i = c + rows.Columns; i < stretch; i += rows.Columns)
                {
                    (low, high) = (Math.Min(low, lows[i]), Math.Max(high, highs[i]));
                }

                scratch.Partials[(2 * task * columns) + column + c] = low;
                scratch.Partials[(((2 * task) + 1) * columns) + column + c] = high;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SumQueries(int task)
    {
        // Any vector near the mean serves, since moving by it is exact: float32 sums are good enough.
        int width = _queries.Columns;
        Span<double> sum = scratch.Partials.AsSpan(task * width, width);
        sum.Clear();
        int end = Math.Min(_queries.Rows, (task + 1) * SumTokens);
        int together = RowsTogether(_queries);
        int stretch = together * width;
        Span<float> sums = stackalloc float[Math.Max(WidestStretch, stretch)];
        sums.Clear();
        int i = task * SumTokens;
        for (; i + together <= end; i += together)
        {
            ReadOnlySpan<float> some = together == 1 ? _queries.Row(i) : _queries.SliceRows(i, together).Span();
            TensorPrimitives.Add(sums[..stretch], some, sums);
        }

        for (; i < end; i++)
        {
            TensorPrimitives.Add(sums[..width], _queries.Row(i), sums);
        }

        for (int n = 0; n < stretch; n++)
        {
            sum[n % width] += sums[n];
        }
    }

    /// <summary>Rows that are read at once as one long row; they must follow each other.</summary>
    private static int RowsTogether(Matrix rows) =>
        rows.IsContiguous && rows.Columns <= WidestStretch / 2 ? WidestStretch / rows.Columns : 1;

    /// <summary>Exponents of the keys of a task, and the extremes of their coordinates, outliers left out.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void MeasureKeys(int task)
    {
        BlockWorkspace work = scratch.Rent();
        int width = _map.Width;
        int length = KeyPartials + (2 * width);
        Span<double> result = scratch.Partials.AsSpan(task * length, length);
        Span<double> low = result.Slice(KeyPartials, width);
        Span<double> high = result.Slice(KeyPartials + width, width);
        low.Fill(double.PositiveInfinity);
        high.Fill(double.NegativeInfinity);
        (double longest, double least, double largest, double missed) = (0, double.PositiveInfinity, double.NegativeInfinity, 0);
        Span<float> raw = work.Raw(_map.InputWidth);
        Span<float> coordinates = work.Coordinates(width);
        Span<double> rows = work.Work(width + 4);
        Span<double> exponents = rows.Slice((width + 1) * Block, Block);
        Span<double> squares = rows.Slice((width + 2) * Block, Block);
        Span<double> residual = _map.Directions is null ? [] : rows.Slice((width + 3) * Block, Block);
        int first = _first + (task * _taskTokens);
        int end = Math.Min(_keys.Rows, first + _taskTokens);
        for (int start = first; start < end; start += Block)
        {
            int count = Math.Min(Block, end - start);
            MonomialKernels.Gather(_keys, start, count, raw);
            exponents.Clear();
            for (int l = 0; l < _map.InputWidth && options.Reductions.QueryCentring; l++)
            {
                AddProduct(raw.Slice(l * Block, Block), _map.KeyCentre[l], _map.QueryCentre[l], exponents);
            }

            _map.LoadKeys(raw, coordinates, rows, residual);
            squares.Clear();
            for (int l = 0; l < width; l++)
            {
                Span<float> row = coordinates.Slice(l * Block, Block);
                (float least32, float largest32) = Extremes(start, count, row);
                (low[l], high[l]) = (Math.Min(low[l], least32), Math.Max(high[l], largest32));
                AddSquare(row, _map.KeyUnits[l], squares);
            }

            exponents[..count].CopyTo(scratch.Exponents.AsSpan(start));
            missed = residual.IsEmpty ? 0 : Math.Max(missed, TensorPrimitives.Max<double>(residual[..count]));
            int bulk = count;
            for (int t = count - 1; t >= 0 && _outliers.Count > 0; t--)
            {
                if (scratch.IsOutlier[start + t])
                {
                    bulk--;
                    (squares[t], exponents[t]) = (squares[bulk], exponents[bulk]);
                }
            }

            if (bulk > 0)
            {
                longest = Math.Max(longest, TensorPrimitives.Max<double>(squares[..bulk]));
                least = Math.Min(least, TensorPrimitives.Min<double>(exponents[..bulk]));
                largest = Math.Max(largest, TensorPrimitives.Max<double>(exponents[..bulk]));
            }
        }

        (result[0], result[1], result[2], result[3]) = (longest, least, largest, missed);
        scratch.Return(work);
    }

    /// <summary>Extremes of a coordinate in a block, outliers left out.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private (float Least, float Largest) Extremes(int start, int count, ReadOnlySpan<float> row)
    {
        if (_outliers.Count == 0)
        {
            return (TensorPrimitives.Min(row[..count]), TensorPrimitives.Max(row[..count]));
        }

        (float least, float largest) = (float.PositiveInfinity, float.NegativeInfinity);
        for (int t = 0; t < count; t++)
        {
            if (!scratch.IsOutlier[start + t])
            {
                (least, largest) = (Math.Min(least, row[t]), Math.Max(largest, row[t]));
            }
        }

        return (least, largest);
    }

    private void JoinKeys()
    {
        int width = _map.Width;
        int length = KeyPartials + (2 * width);
        double squares = _keyRadius * _keyRadius;
        for (int task = 0; task < KeyTasks; task++)
        {
            ReadOnlySpan<double> result = scratch.Partials.AsSpan(task * length, length);
            squares = Math.Max(squares, result[0]);
            _least = Math.Min(_least, result[1]);
            _maxExponent = Math.Max(_maxExponent, result[2]);
            _residual = Math.Max(_residual, result[3]);
            TensorPrimitives.Min(_coordinateLow, result.Slice(KeyPartials, width), _coordinateLow);
            TensorPrimitives.Max(_coordinateHigh, result.Slice(KeyPartials + width, width), _coordinateHigh);
        }

        _keyRadius = Math.Sqrt(squares);
        for (int l = 0; l < width; l++)
        {
            _maxima[l] = Math.Max(Math.Abs(_coordinateLow[l]), Math.Abs(_coordinateHigh[l]));
            _allMaxima[l] = Math.Max(_allMaxima[l], _maxima[l]);
        }
    }

    /// <summary>Coordinates and exponents of the outliers, which fit into one block.</summary>
    private void MeasureOutliers()
    {
        BlockWorkspace work = scratch.Rent();
        int width = _map.Width;
        Span<float> raw = work.Raw(_map.InputWidth);
        LowRankScratch.Resize(ref _outlierCoordinates, width * Block);
        LowRankScratch.Resize(ref _outlierExponents, Block);
        MonomialKernels.Gather(_keys, CollectionsMarshal.AsSpan(_outliers), raw);
        _map.LoadKeys(raw, _outlierCoordinates, work.Work(width + 1), []);
        for (int n = 0; n < _outliers.Count; n++)
        {
            _outlierExponents[n] = scratch.Exponents[_outliers[n]];
            for (int l = 0; l < width; l++)
            {
                _allMaxima[l] = Math.Max(_allMaxima[l], Math.Abs(_outlierCoordinates[(l * Block) + n]));
            }
        }

        scratch.Return(work);
    }

    /// <summary>Class of every query of a task, tallies, and the largest rho: the smaller of box and Cauchy-Schwarz.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void MeasureQueries(int task)
    {
        BlockWorkspace work = scratch.Rent();
        int width = _map.Width;
        Span<LowRankPlan.ClassTally> tallies = scratch.Tallies.AsSpan(task * LowRankPlan.ClassCount, LowRankPlan.ClassCount);
        tallies.Clear();
        double largest = 0;
        bool finite = true;
        double underflow = 0;
        for (int l = 0; l < width; l++)
        {
            underflow += _allMaxima[l] * _map.KeyUnits[l] * Math.ScaleB(1, -147);
        }

        double outlierExponent = _outliers.Count == 0 ? double.NegativeInfinity : TensorPrimitives.Max<double>(_outlierExponents.AsSpan(0, _outliers.Count));
        double residualRadius = Math.Sqrt(_residual);
        double roundingFactor = 1 + ((width + 4) * 4 * UnitRoundoff);
        bool plain = _outliers.Count == 0 && TensorPrimitives.Max<double>(_translated) == 0;
        Span<float> raw = work.Raw(_map.InputWidth);
        Span<float> coordinates = work.Coordinates(width + 4);
        Span<float> box = coordinates.Slice(width * Block, Block);
        Span<float> wideBox = coordinates.Slice((width + 1) * Block, Block);
        Span<float> fullBox = coordinates.Slice((width + 2) * Block, Block);
        Span<float> reach = coordinates.Slice((width + 3) * Block, Block);
        Span<double> rows = work.Work(width + 3);
        Span<double> squares = rows.Slice((width + 1) * Block, Block);
        Span<double> residual = _map.Directions is null ? [] : rows.Slice((width + 2) * Block, Block);
        int end = Math.Min(_queries.Rows, (task + 1) * SumTokens);
        for (int start = task * SumTokens; start < end; start += Block)
        {
            int count = Math.Min(Block, end - start);
            MonomialKernels.Gather(_queries, start, count, raw);
            _map.LoadQueries(raw, _scale, coordinates, rows, residual);
            coordinates[(width * Block)..].Clear();
            squares.Clear();
            for (int l = 0; l < width; l++)
            {
                ReadOnlySpan<float> row = coordinates.Slice(l * Block, Block);
                AddMagnitude(row, Above(_maxima[l]), box, reach);
                if (!plain)
                {
                    AddMagnitude(row, Above(_maxima[l] + _translated[l]), wideBox, reach);
                    AddMagnitude(row, Above(_allMaxima[l] + _translated[l]), fullBox, reach);
                }

                AddSquare(row, _map.KeyUnits[l] == 0 ? 0 : 1 / _map.KeyUnits[l], squares);
            }

            for (int t = 0; t < count; t++)
            {
                // The factors cover the sums in float32, and the rounding of stored queries.
                double ownBox = box[t] * roundingFactor;
                double wide = plain ? ownBox : wideBox[t] * roundingFactor;
                double full = plain ? ownBox : fullBox[t] * roundingFactor;
                double missed = residual.IsEmpty ? 0 : Math.Sqrt(residual[t]) * residualRadius;
                double rho = Math.Min(ownBox, (Math.Sqrt(squares[t]) * _keyRadius * (1 + 1e-6)) + 1e-30);
                double delta = missed + (2 * UnitRoundoff * full * (1 + 1e-3)) + (6 * UnitRoundoff) + underflow;
                bool served = delta <= 2 * options.Tolerance && !(full + outlierExponent - _maxExponent > 60);
                byte rowClass = served ? LowRankPlan.ClassOf(rho) : (byte)(LowRankPlan.ClassCount - 1);
                scratch.Classes[start + t] = rowClass;
                finite &= double.IsFinite(full);
                largest = rho > largest ? rho : largest;
                ref LowRankPlan.ClassTally tally = ref tallies[rowClass];
                tally.Rows++;
                tally.Box = wide > tally.Box ? wide : tally.Box;
                tally.Delta = delta > tally.Delta ? delta : tally.Delta;
                tally.Reach = reach[t] > tally.Reach ? reach[t] : tally.Reach;
            }
        }

        scratch.Partials[task] = finite ? largest : double.NaN;
        scratch.Return(work);
    }

    private readonly struct PassBody(LowRankHead head, Pass pass) : IParallelBody
    {
        public void Invoke(int task)
        {
            switch (pass)
            {
                case Pass.Extremes:
                    head.FindExtremes(task);
                    break;
                case Pass.QueryMeans:
                    head.SumQueries(task);
                    break;
                case Pass.SurveyKeys:
                    head.Survey(task, ofKeys: true);
                    break;
                case Pass.SurveyQueries:
                    head.Survey(task, ofKeys: false);
                    break;
                case Pass.MeasureKeys:
                    head.MeasureKeys(task);
                    break;
                case Pass.MeasureQueries:
                    head.MeasureQueries(task);
                    break;
                case Pass.SumKeys:
                    head.SumKeys(task);
                    break;
                default:
                    head.AnswerBlock(task);
                    break;
            }
        }
    }
}
