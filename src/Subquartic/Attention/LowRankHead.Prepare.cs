using System.Numerics.Tensors;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Attention;

/// <content>What decides: centres, directions, outliers, and whether they pay.</content>
internal sealed partial class LowRankHead
{
    // A way that needs more than this part of the exact time is worth looking for a better one.
    private const double GoodEnough = 0.25;

    // Rows of either side from which directions are found.
    private const int SampleRows = 96;

    private const int MaxOutliers = 64;

    /// <summary>Begins anew: measures the head and chooses how to approximate it.</summary>
    /// <returns>Null, or why it cannot be.</returns>
    private string? Build()
    {
        SetFirst(0);
        _outliers.Clear();
        _map.Reset(_keys.Columns);
        Run(Pass.Extremes, KeyTasks);
        double largest = JoinExtremes();
        if (!double.IsFinite(largest))
        {
            return "a value is not finite";
        }

        if (largest > float.MaxValue / 4)
        {
            return "values near the end of the range of float32";
        }

        if (options.Reductions.QueryCentring)
        {
            Run(Pass.QueryMeans, QueryTasks);
            JoinQueryMeans();
        }

        string? refusal = TryAxes();
        double cost = refusal is null ? scratch.Plan.Cost : double.PositiveInfinity;
        double exact = AttentionCost.ExactTime(_queries.Rows, _keys.Rows, _keys.Columns, _values.Columns);
        if (double.IsFinite(_largest) && cost > GoodEnough * exact && options.Reductions.OutlierKeys && FindOutliers(exact))
        {
            string? with = TryAxes();
            if (with is null && scratch.Plan.Cost < cost)
            {
                (refusal, cost) = (null, scratch.Plan.Cost);
            }
            else
            {
                _outliers.Clear();
                TryAxes();
            }
        }

        if (double.IsFinite(_largest) && cost > GoodEnough * exact)
        {
            if (FindDirections(exact) && TryMap() is null && scratch.Plan.Cost < cost)
            {
                refusal = null;
            }
            else if (_map.Directions is not null)
            {
                _map.UseAxes();
                TryAxes();
            }
        }

        return refusal;
    }

    /// <summary>Adds the new keys to what is known, when they fit the map and the degree of the moments.</summary>
    private bool Extend()
    {
        if (Absorbed == 0 || Absorbed > _keys.Rows || _map.InputWidth != _keys.Columns || _valueCentre.Length != _values.Columns)
        {
            return false;
        }

        SetFirst(Absorbed);
        if (_first < _keys.Rows)
        {
            // A coordinate in which all keys agreed is not in the features; the new ones may differ in it.
            if (_map.KeyUnits.AsSpan(0, _map.Width).Contains(0))
            {
                return false;
            }

            Run(Pass.Extremes, KeyTasks);
            if (!MergeExtremes() || !(ValueReach() * _valueFactors[0] * _valueFactors[1] <= 256))
            {
                return false;
            }
        }

        return Measure(Absorbed) is null;
    }

    private void SetFirst(int first)
    {
        _first = first;
        int share = (_keys.Rows - first + MaxTasks - 1) / MaxTasks;
        _taskTokens = Math.Max(SumTokens, (share + SumTokens - 1) / SumTokens * SumTokens);
    }

    /// <summary>Centres keys and values in the middle of their ranges.</summary>
    /// <returns>The largest |v0| + range; NaN when a key or value is.</returns>
    private double JoinExtremes()
    {
        int width = _keys.Columns;
        int columns = width + _values.Columns;
        LowRankScratch.Resize(ref _keyLow, width);
        LowRankScratch.Resize(ref _keyHigh, width);
        LowRankScratch.Renew(ref _valueLow, _values.Columns);
        LowRankScratch.Renew(ref _valueHigh, _values.Columns);
        LowRankScratch.Renew(ref _valueCentre, _values.Columns);
        ReadExtremes();
        double largest = 0;
        for (int column = 0; column < columns; column++)
        {
            double centre = (_low[column] + _high[column]) / 2;
            if (column < width)
            {
                (_keyLow[column], _keyHigh[column]) = (_low[column], _high[column]);
                largest = double.IsFinite(centre) ? largest : double.NaN;
            }
            else
            {
                (_valueLow[column - width], _valueHigh[column - width]) = (_low[column], _high[column]);
                _valueCentre[column - width] = (float)centre;
                largest = Math.Max(largest, Math.Abs(centre) + (_high[column] - _low[column]));
            }
        }

        double reach = ValueReach();
        int exponent = reach > 0 && double.IsFinite(reach) ? Math.ILogB(reach) + 1 : 0;
        TokenMap.Split(-exponent, _valueFactors.AsSpan(0, 2));
        TokenMap.Split(exponent, _valueFactors.AsSpan(2, 2));
        return largest;
    }

    /// <summary>Extremes of the new values join those known; false when a number is not finite.</summary>
    private bool MergeExtremes()
    {
        ReadExtremes();
        bool finite = true;
        for (int c = 0; c < _values.Columns; c++)
        {
            int column = _keys.Columns + c;
            finite &= double.IsFinite(_low[column] + _high[column]);
            _valueLow[c] = Math.Min(_valueLow[c], _low[column]);
            _valueHigh[c] = Math.Max(_valueHigh[c], _high[column]);
        }

        return finite;
    }

    private void ReadExtremes()
    {
        int columns = _keys.Columns + _values.Columns;
        LowRankScratch.Resize(ref _low, columns);
        LowRankScratch.Resize(ref _high, columns);
        for (int column = 0; column < columns; column++)
        {
            (double low, double high) = (double.PositiveInfinity, double.NegativeInfinity);
            for (int task = 0; task < KeyTasks; task++)
            {
                low = Math.Min(low, scratch.Partials[(2 * task * columns) + column]);
                high = Math.Max(high, scratch.Partials[(((2 * task) + 1) * columns) + column]);
            }

            (_low[column], _high[column]) = (low, high);
        }
    }

    private void JoinQueryMeans()
    {
        int width = _queries.Columns;
        for (int l = 0; l < width; l++)
        {
            double sum = 0;
            for (int task = 0; task < QueryTasks; task++)
            {
                sum += scratch.Partials[(task * width) + l];
            }

            float mean = (float)(_scale * sum / _queries.Rows);
            _map.QueryCentre[l] = float.IsFinite(mean) ? mean : 0;
        }
    }

    /// <summary>Tries the coordinates as they are, centred between the extremes of all keys but the outliers.</summary>
    private string? TryAxes()
    {
        int width = _keys.Columns;
        (double[] lows, double[] highs) = _outliers.Count > 0 ? BulkExtremes() : (_keyLow, _keyHigh);
        Span<double> maxima = stackalloc double[Math.Min(width, 256)];
        maxima = width <= 256 ? maxima : new double[width];
        for (int l = 0; l < width; l++)
        {
            // A float32 centre makes k - c a single rounding, which keeps the order, so that the extremes give the maximum.
            float centre = options.Reductions.KeyCentring ? (float)((lows[l] + highs[l]) / 2) : 0;
            _map.KeyCentre[l] = centre;
            maxima[l] = Math.Max(Math.Abs((float)highs[l] - centre), Math.Abs((float)lows[l] - centre));
        }

        _map.Scale(maxima, options.Reductions.Rebalancing);
        return TryMap();
    }

    private string? TryMap() => Measure(0) ?? (scratch.Plan.Degree > 0 ? null : "no polynomial");

    /// <summary>Measures keys from the first new one and all queries with the map as it is, and plans.</summary>
    private string? Measure(int absorbed)
    {
        int width = _map.Width;
        bool extending = absorbed > 0;
        if (!extending)
        {
            LowRankScratch.Renew(ref _maxima, width);
            LowRankScratch.Renew(ref _allMaxima, width);
            LowRankScratch.Renew(ref _translated, width);
            LowRankScratch.Renew(ref _coordinateLow, width);
            LowRankScratch.Renew(ref _coordinateHigh, width);
            (_keyRadius, _residual, _least, _maxExponent) = (0, 0, double.PositiveInfinity, double.NegativeInfinity);
        }

        double oldMax = _maxExponent;
        LowRankScratch.Resize(ref scratch.Exponents, _keys.Rows);
        LowRankScratch.Resize(ref scratch.IsOutlier, _keys.Rows);
        LowRankScratch.Resize(ref scratch.Classes, _queries.Rows);
        Array.Clear(scratch.IsOutlier);
        foreach (int j in _outliers)
        {
            scratch.IsOutlier[j] = true;
        }

        Run(Pass.MeasureKeys, KeyTasks);
        JoinKeys();
        if (_outliers.Count > 0 && !extending)
        {
            // Later calls keep them: neither they nor the map change, and the exponents of older keys are not at hand any more.
            MeasureOutliers();
        }

        if (!double.IsFinite(_maxExponent - _least))
        {
            _largest = double.NaN;
            return "a value is not finite";
        }

        if (_maxExponent - _least > 60)
        {
            return $"the mean query spreads the keys over {_maxExponent - _least:g3} nats";
        }

        if (extending)
        {
            // The weights in the moments are relative to the old maximum.
            bool fits = _maxExponent - oldMax < 20 && TensorPrimitives.Max(_maxima.AsSpan(0, width)) <= 4;
            _maxExponent = oldMax;
            if (!fits)
            {
                return "the new keys lie elsewhere";
            }

            Recentre();
        }

        LowRankScratch.Resize(ref scratch.Tallies, QueryTasks * LowRankPlan.ClassCount);
        Run(Pass.MeasureQueries, QueryTasks);
        scratch.Plan.Clear();
        _largest = 0;
        for (int task = 0; task < QueryTasks; task++)
        {
            scratch.Plan.Add(scratch.Tallies.AsSpan(task * LowRankPlan.ClassCount, LowRankPlan.ClassCount));
            _largest = Math.Max(_largest, scratch.Partials[task]);
        }

        Diagnosis = Diagnosis with { HalfRange = _largest };
        if (!double.IsFinite(_largest))
        {
            return "a value is not finite";
        }

        double range = ValueRange();
        var shape = new LowRankPlan.Shape(
            _queries.Rows, _keys.Rows, _keys.Rows - absorbed, _keys.Columns, width, _values.Columns, _outliers.Count,
            range > 0 ? 2 * ValueReach() / range : 0, extending ? Basis!.Degree : 0);
        return scratch.Plan.Choose(shape, options) ? null
            : options.OnlyWhenFaster
                ? $"scores within ±{_largest:g3} need more features than {_queries.Rows} queries and {_keys.Rows} keys repay"
                : $"no polynomial serves scores within ±{_largest:g3}";
    }

    /// <summary>Carries map and moments to the middle of all keys when they have moved far from it.</summary>
    private void Recentre()
    {
        Span<double> shift = stackalloc double[_map.Width];
        bool far = false;
        for (int l = 0; l < shift.Length; l++)
        {
            shift[l] = (_coordinateLow[l] + _coordinateHigh[l]) / 2;
            far |= Math.Abs(shift[l]) > 0.25 * _maxima[l];
        }

        if (!far || !options.Reductions.KeyCentring || _outliers.Count > 0)
        {
            return;
        }

        for (int l = 0; l < shift.Length; l++)
        {
            double unit = _map.KeyUnits[l];
            if (unit == 0)
            {
                shift[l] = 0;
                continue;
            }

            if (_map.Directions is null)
            {
                float old = _map.KeyCentre[l];
                _map.KeyCentre[l] = (float)(old + (shift[l] * unit));
                double moved = (double)_map.KeyCentre[l] - old;
                _maxExponent -= _map.QueryCentre[l] * moved;
                _least -= _map.QueryCentre[l] * moved;
                shift[l] = moved / unit;
            }
            else
            {
                _map.Offsets[l] += shift[l] * unit;
            }

            _coordinateLow[l] -= shift[l];
            _coordinateHigh[l] -= shift[l];
            _translated[l] += Math.Abs(shift[l]);
            _maxima[l] = Math.Max(Math.Abs(_coordinateLow[l]), Math.Abs(_coordinateHigh[l])) * (1 + (4 * UnitRoundoff));
            _allMaxima[l] = _maxima[l];
        }

        // Longest possible after the move.
        double radius = 0;
        for (int l = 0; l < shift.Length; l++)
        {
            radius += _maxima[l] * _map.KeyUnits[l] * _maxima[l] * _map.KeyUnits[l];
        }

        _keyRadius = Math.Sqrt(radius);
        Basis!.Translate(_moments, ColumnCount, shift);
        Translations++;

        // Exponents of the new keys are relative to the old centre still.
        Run(Pass.MeasureKeys, KeyTasks);
    }
}
