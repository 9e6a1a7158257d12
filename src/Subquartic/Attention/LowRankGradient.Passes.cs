using System.Runtime.CompilerServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <content>The passes over the tokens: sums over keys forwards through the scales, sums over queries backwards.</content>
internal sealed partial class LowRankGradient
{
    private const int Block = MonomialKernels.Tokens;

    private double[] _inverse = [];
    private double[] _inner = [];
    private double[] _queryBounds = [];
    private double[] _keyBounds = [];
    private double[] _valueBounds = [];
    private double[] _remainders = [];
    private float[] _weighted = [];

    /// <summary>Bound of each row of dQ, once <see cref="Backward"/> has run.</summary>
    public ReadOnlySpan<double> QueryBounds => _queryBounds.AsSpan(0, _queries.Rows);

    /// <summary>Bound of each row of dK.</summary>
    public ReadOnlySpan<double> KeyBounds => _keyBounds.AsSpan(0, _keys.Rows);

    /// <summary>Bound of each row of dV.</summary>
    public ReadOnlySpan<double> ValueBounds => _valueBounds.AsSpan(0, _keys.Rows);

    /// <summary>c and qbar, as the gradient of the surrogate holds them fixed.</summary>
    public (float[] KeyShift, double[] QueryMean) Centres => (_keyShift[.._keys.Columns], _queryMean[.._keys.Columns]);

    /// <summary>Coefficients of P.</summary>
    public ReadOnlySpan<double> Coefficients => _polynomial!.Coefficients;

    /// <summary>Steps 1 to 3 of the algorithm: the output.</summary>
    /// <param name="output">(L, c_v), overwritten.</param>
    /// <returns>A bound on the error of its entries, in units of V.</returns>
    public double Forward(Matrix output)
    {
        int columns = Columns(wide: false);
        double[] sums = _work.Totals(Basis!.Count * columns);
        int next = 0;
        foreach (AttentionSegment segment in _segments)
        {
            AddKeys(ref next, segment.Keys, wide: false, sums);
            Weigh(sums, columns, 1, GradientVariant.OfAttention);
            for (int start = segment.QueryStart; start < segment.QueryStart + segment.Queries; start += Block)
            {
                int count = Math.Min(Block, segment.QueryStart + segment.Queries - start);
                ReadOnlySpan<float> result = EvaluateQueries(start, count, columns);
                for (int t = 0; t < count; t++)
                {
                    Span<float> row = output.Row(start + t);
                    double inverse = 1 / (result[t] * _valueScale);
                    for (int b = 0; b < row.Length; b++)
                    {
                        row[b] = (float)((result[((b + 1) * Block) + t] * inverse) + _valueShift[b]);
                    }
                }
            }
        }

        double range = 0, shift = 0;
        for (int b = 0; b < _values.Columns; b++)
        {
            range = Math.Max(range, 2 * _largestValue[b]);
            shift = Math.Max(shift, Math.Abs(_valueShift[b]));
        }

        return !IsValid ? double.PositiveInfinity
            : (range * (Distance(_largestBox) + (1.1 * Eta(_largestBox, HalfRange)))) + (3 * UnitRoundoff * (shift + range)) + float.Epsilon;
    }

    /// <summary>Steps 2 to 9: adds the gradients of Q, K and V. Without dK and dV they are left out, and with them half of the work.</summary>
    /// <param name="gradient">G = dLoss/dO (L, c_v).</param>
    /// <param name="dQueries">(L, c), added to.</param>
    /// <param name="dKeys">(S, c), added to.</param>
    /// <param name="dValues">(S, c_v), added to.</param>
    /// <param name="variant">Which gradient.</param>
    /// <returns>The largest bounds over the rows.</returns>
    public GradientCertificate Backward(Matrix gradient, Matrix dQueries, Matrix dKeys, Matrix dValues, GradientVariant variant)
    {
        Resize(ref _inverse, _queries.Rows);
        Resize(ref _inner, _queries.Rows);
        Resize(ref _queryBounds, _queries.Rows);
        Resize(ref _keyBounds, _keys.Rows);
        Resize(ref _valueBounds, _keys.Rows);
        Resize(ref _remainders, 2 * _segments.Count);
        bool certified = variant == GradientVariant.OfAttention && IsValid;
        double none = variant == GradientVariant.OfAttention ? double.PositiveInfinity : double.NaN;

        int columns = Columns(wide: true);
        double[] sums = _work.Totals(Basis!.Count * columns);
        int next = 0;
        for (int s = 0; s < _segments.Count; s++)
        {
            AttentionSegment segment = _segments[s];
            AddKeys(ref next, segment.Keys, wide: true, sums);
            Weigh(sums, columns, _keys.Columns + 1, variant);
            for (int start = segment.QueryStart; start < segment.QueryStart + segment.Queries; start += Block)
            {
                AnswerQueries(start, Math.Min(Block, segment.QueryStart + segment.Queries - start), columns, gradient, dQueries);
            }
        }

        double unit = ColumnUnit(gradient, out double boundUnit);
        columns = QueryColumns;
        sums = _work.Totals(Basis.Count * columns);
        double keyRemainder = 0, valueRemainder = 0;
        for (int s = _segments.Count - 1; s >= 0; s--)
        {
            AttentionSegment segment = _segments[s];
            for (int start = segment.QueryStart; start < segment.QueryStart + segment.Queries; start += Block)
            {
                AddQueries(start, Math.Min(Block, segment.QueryStart + segment.Queries - start), gradient, unit, boundUnit, s, sums, ref keyRemainder, ref valueRemainder);
            }

            Weigh(sums, columns, _keys.Columns + 1, variant);
            int first = s == 0 ? 0 : _segments[s - 1].Keys;
            for (int start = first; start < segment.Keys; start += Block)
            {
                AnswerKeys(start, Math.Min(Block, segment.Keys - start), columns, unit, boundUnit, keyRemainder, valueRemainder, dKeys, dValues);
            }
        }

        if (!certified)
        {
            QueryBoundsAll(none);
        }

        return new GradientCertificate(Largest(QueryBounds), Largest(KeyBounds), Largest(ValueBounds));
    }

    /// <summary>[1 V] times [1 K], or [1 V], of the next keys, times w_j.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddKeys(ref int next, int end, bool wide, double[] sums)
    {
        int width = _keys.Columns, stride = wide ? width + 1 : 1;
        for (; next < end; next += Block)
        {
            int count = Math.Min(Block, end - next);
            FillKeys(next, count);
            Span<float> columns = ClearedColumns(Columns(wide));
            for (int t = 0; t < count; t++)
            {
                ReadOnlySpan<float> key = _keys.Row(next + t), value = _values.Row(next + t);
                for (int b = 0; b <= value.Length; b++)
                {
                    double factor = _weights[next + t] * (b == 0 ? 1 : (value[b - 1] - _valueShift[b - 1]) * _valueScale);
                    Span<float> column = columns[((b * stride * Block) + t)..];
                    column[0] = (float)factor;
                    for (int l = 1; l < stride; l++)
                    {
                        column[l * Block] = (float)(factor * ((double)key[l - 1] - _keyShift[l - 1]) * _keyScale[l - 1]);
                    }
                }
            }

            _work.AddTo(sums, Basis!.Count, Columns(wide));
        }

        next = end;
    }

    /// <summary>Steps 3, 4 and 7: D, r = G.O and dQ of a block of queries.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AnswerQueries(int start, int count, int columns, Matrix gradient, Matrix dQueries)
    {
        int width = _keys.Columns, stride = width + 1;
        ReadOnlySpan<float> result = EvaluateQueries(start, count, columns);
        for (int t = 0; t < count; t++)
        {
            int i = start + t;
            ReadOnlySpan<float> g = gradient.Row(i);
            double inverse = 1.0 / result[t], inner = 0;
            for (int b = 0; b < g.Length; b++)
            {
                inner += g[b] * (double)result[((b + 1) * stride * Block) + t];
            }

            inner *= inverse / _valueScale;
            (_inverse[i], _inner[i]) = (inverse, inner);
            Span<float> target = dQueries.Row(i);
            double bound = 0, half = HalfGradientRange(g);
            for (int l = 0; l < width; l++)
            {
                double sum = 0;
                for (int b = 0; b < g.Length; b++)
                {
                    sum += g[b] * (double)result[((((b + 1) * stride) + l + 1) * Block) + t];
                }

                double value = _scale * inverse * ((sum / _valueScale) - (inner * result[((l + 1) * Block) + t])) / _keyScale[l];
                target[l] += (float)value;
                bound = Math.Max(bound, (Math.Abs(_scale) * _largestKey[l] / _keyScale[l] * half * ((6 * Distance(_box[i])) + (7 * Eta(_box[i], _rho[i])))) + (UnitRoundoff * Math.Abs(value)));
            }

            _queryBounds[i] = bound + float.Epsilon;
        }
    }

    /// <summary>[G/D r/D] times [1 Q], and two columns for the bounds, of a block of queries; and what rounding adds to the bounds of the keys they see.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddQueries(
        int start, int count, Matrix gradient, double unit, double boundUnit, int segment, double[] sums, ref double keyRemainder, ref double valueRemainder)
    {
        int width = _keys.Columns, valueWidth = _values.Columns, stride = width + 1;
        FillQueries(start, count);
        Span<float> columns = ClearedColumns(QueryColumns);
        int bounds = (valueWidth + 1) * stride;
        for (int t = 0; t < count; t++)
        {
            int i = start + t;
            ReadOnlySpan<float> g = gradient.Row(i), query = _queries.Row(i);
            double inverse = _inverse[i], steepest = 0;
            for (int b = 0; b <= valueWidth; b++)
            {
                double factor = inverse * unit * (b == valueWidth ? _inner[i] : g[b] / _valueScale);
                steepest = b == valueWidth ? steepest : Math.Max(steepest, Math.Abs(g[b]));
                Span<float> column = columns[((b * stride * Block) + t)..];
                column[0] = (float)factor;
                for (int l = 0; l < width; l++)
                {
                    column[(l + 1) * Block] = (float)(factor * (((_scale * query[l]) - _queryMean[l]) / _keyScale[l]) * _columnScale[l]);
                }
            }

            double pull = 2 * HalfGradientRange(g) * Reach(query);
            columns[(bounds * Block) + t] = (float)(pull * inverse * boundUnit);
            columns[((bounds + 1) * Block) + t] = (float)(steepest * inverse * boundUnit);
            double eta = Eta(_box[i], _rho[i]) / 0.99 / _visible[segment];
            keyRemainder += eta * pull;
            valueRemainder += eta * steepest;
        }

        _work.AddTo(sums, Basis!.Count, QueryColumns);
    }

    /// <summary>Steps 5 and 9: dV and dK of a block of keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AnswerKeys(
        int start, int count, int columns, double unit, double boundUnit, double keyRemainder, double valueRemainder, Matrix dKeys, Matrix dValues)
    {
        int width = _keys.Columns, valueWidth = _values.Columns, stride = width + 1, bounds = (valueWidth + 1) * stride;
        FillKeys(start, count);
        ReadOnlySpan<float> result = _work.Evaluate(_weighted, Basis!.Count, columns);
        double e = Combined(_largestBox), eta = Eta(_largestBox, HalfRange);
        double share = (1 + e) / (1 - e), inValue = (2 * e / (1 - e) * share) + (1.1 * eta), inKey = (((2 * e / (1 - e)) + Distance(_largestBox)) * share) + (2.1 * eta);
        for (int t = 0; t < count; t++)
        {
            int j = start + t;
            double weight = _weights[j] / unit, boundWeight = _weights[j] / boundUnit, largest = 0;
            ReadOnlySpan<float> value = _values.Row(j);
            Span<float> dValue = dValues.Row(j), dKey = dKeys.Row(j);
            double total = -result[(valueWidth * stride * Block) + t];
            for (int b = 0; b < valueWidth; b++)
            {
                double entry = result[(b * stride * Block) + t];
                total += (value[b] - _valueShift[b]) * _valueScale * entry;
                double change = weight * entry * _valueScale;
                dValue[b] += (float)change;
                largest = Math.Max(largest, Math.Abs(change));
            }

            double seen = Math.Max(0, boundWeight * result[((bounds + 1) * Block) + t]), remainder = _weights[j] * valueRemainder;
            double underflow = Underflow * (valueWidth + 1) * weight;
            _valueBounds[j] = (inValue * (seen + (1.1 * remainder)) * (1 + (2 * eta))) + (1.1 * remainder) + (underflow * _valueScale) + (UnitRoundoff * largest) + float.Epsilon;

            largest = 0;
            for (int l = 0; l < width; l++)
            {
                double sum = -result[(((valueWidth * stride) + l + 1) * Block) + t];
                for (int b = 0; b < valueWidth; b++)
                {
                    sum += (value[b] - _valueShift[b]) * _valueScale * result[(((b * stride) + l + 1) * Block) + t];
                }

                double change = weight * ((sum * _keyScale[l] / _columnScale[l]) + (_queryMean[l] * total));
                dKey[l] += (float)change;
                largest = Math.Max(largest, Math.Abs(change) + (underflow / UnitRoundoff * ((_keyScale[l] / _columnScale[l]) + Math.Abs(_queryMean[l]))));
            }

            seen = Math.Max(0, boundWeight * result[(bounds * Block) + t]);
            remainder = _weights[j] * keyRemainder;
            _keyBounds[j] = (inKey * (seen + (1.1 * remainder)) * (1 + (2 * eta))) + (1.2 * remainder) + (UnitRoundoff * largest) + float.Epsilon;
        }
    }

    /// <summary>Multiplies sums by mult(alpha) and coefficients: those of P, and in every column but the first of each stride those of P' for the surrogate.</summary>
    private void Weigh(double[] sums, int columns, int stride, GradientVariant variant)
    {
        Resize(ref _weighted, Basis!.Count * columns);
        ReadOnlySpan<double> coefficients = _polynomial!.Coefficients;
        int special = (_values.Columns + 1) * stride; // columns of bounds follow, always with P
        for (int m = 0; m <= Basis.Degree; m++)
        {
            double slope = variant == GradientVariant.OfAttention ? coefficients[m] : m < Basis.Degree ? (m + 1) * coefficients[m + 1] : 0;
            for (int alpha = Basis.Start(m); alpha < Basis.Start(m + 1); alpha++)
            {
                double multiplicity = Basis.Multiplicities[alpha];
                for (int c = 0; c < columns; c++)
                {
                    double coefficient = stride == 1 || c >= special || c % stride == 0 ? coefficients[m] : slope;
                    _weighted[(alpha * columns) + c] = (float)(coefficient * multiplicity * sums[(alpha * columns) + c]);
                }
            }
        }
    }

    private ReadOnlySpan<float> EvaluateQueries(int start, int count, int columns)
    {
        FillQueries(start, count);
        return _work.Evaluate(_weighted, Basis!.Count, columns);
    }

    /// <summary>Columns of a block; tokens and columns beyond the last add nothing.</summary>
    private Span<float> ClearedColumns(int columns)
    {
        Span<float> values = _work.Values(columns);
        values.Clear();
        return values;
    }

    /// <summary>Monomials of a block of keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void FillKeys(int start, int count)
    {
        Span<float> target = _work.Coordinates(_keys.Columns);
        target.Clear();
        for (int t = 0; t < count; t++)
        {
            ReadOnlySpan<float> key = _keys.Row(start + t);
            for (int l = 0; l < key.Length; l++)
            {
                target[(l * Block) + t] = (float)(((double)key[l] - _keyShift[l]) * _keyScale[l]);
            }
        }

        _work.Fill(Basis!);
    }

    /// <summary>Monomials of a block of queries.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void FillQueries(int start, int count)
    {
        Span<float> target = _work.Coordinates(_keys.Columns);
        target.Clear();
        for (int t = 0; t < count; t++)
        {
            ReadOnlySpan<float> query = _queries.Row(start + t);
            for (int l = 0; l < query.Length; l++)
            {
                target[(l * Block) + t] = (float)(((_scale * query[l]) - _queryMean[l]) / _keyScale[l]);
            }
        }

        _work.Fill(Basis!);
    }

    /// <summary>The powers of two that bring the columns of <see cref="AddQueries"/> to at most 1.</summary>
    private double ColumnUnit(Matrix gradient, out double boundUnit)
    {
        double largest = 0, largestBound = 0;
        for (int i = 0; i < _queries.Rows; i++)
        {
            double steepest = 0;
            ReadOnlySpan<float> g = gradient.Row(i);
            foreach (float entry in g)
            {
                steepest = Math.Max(steepest, Math.Abs(entry));
            }

            largest = Math.Max(largest, Math.Abs(_inverse[i]) * Math.Max(Math.Abs(_inner[i]), steepest / _valueScale));
            largestBound = Math.Max(largestBound, Math.Abs(_inverse[i]) * Math.Max(2 * HalfGradientRange(g) * Reach(_queries.Row(i)), steepest));
        }

        boundUnit = largestBound > 0 && double.IsFinite(largestBound) ? Power(largestBound) : 1;
        return largest > 0 && double.IsFinite(largest) ? Power(largest) : 1;
    }

    /// <summary>g_i: half of the largest range that G_i.V_j can have.</summary>
    private double HalfGradientRange(ReadOnlySpan<float> g)
    {
        double half = 0;
        for (int b = 0; b < g.Length; b++)
        {
            half += Math.Abs(g[b]) * _largestValue[b];
        }

        return half;
    }

    /// <summary>q_i.</summary>
    private double Reach(ReadOnlySpan<float> query)
    {
        double reach = 0;
        for (int l = 0; l < query.Length; l++)
        {
            reach = Math.Max(reach, Math.Abs((_scale * query[l]) - _queryMean[l]) + Math.Abs(_queryMean[l]));
        }

        return reach;
    }

    private void QueryBoundsAll(double bound)
    {
        _queryBounds.AsSpan(0, _queries.Rows).Fill(bound);
        _keyBounds.AsSpan(0, _keys.Rows).Fill(bound);
        _valueBounds.AsSpan(0, _keys.Rows).Fill(bound);
    }

    private static double Largest(ReadOnlySpan<double> bounds)
    {
        double largest = 0;
        foreach (double bound in bounds)
        {
            largest = Math.Max(largest, bound); // keeps a NaN
        }

        return largest;
    }
}
