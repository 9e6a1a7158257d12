using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention.HigherOrder;

/// <summary>A multilinear score in the form in which polynomials of it are taken: keys moved by a vector of each set, as columns
/// u_col x1_col x2_col …, and what bounds the score.</summary>
/// <remarks>
/// <para>With k_s = c_s + k'_s the score is a constant of the row plus, for every set T of key sets that is not empty, the sum over l of
/// (q_l prod_(s not in T) c_sl) prod_(s in T) k'_sl: a column (T, l) whose factor is 1 for the sets outside T. Without moving
/// (c = 0) only the column T = all remains, so both forms are this one. Columns that are 0 with all their derivatives are left out. It pays
/// where the keys lie far from 0 for their spread: the bound of the score falls, and the number of columns grows at most to (2^(k-1) - 1) d.</para>
/// <para>Coordinates of keys are scaled by powers of two so that their largest lies in [1/2, 1), queries inversely: exact. A coordinate in which the
/// keys of a set do not move (k' = 0) matters to the gradient alone; its scaling brings u to at most 1.</para>
/// </remarks>
internal sealed class TensorShape
{
    private readonly float[][] _shift;
    private readonly double[][] _scale;

    /// <summary>Reads the keys and bounds the scores.</summary>
    /// <param name="input">The call.</param>
    /// <param name="centred">Whether to move each set of keys by the middle of its range.</param>
    public TensorShape(in TensorInput input, bool centred)
    {
        int sets = input.Keys.Count, width = input.Queries.Columns;
        _shift = [.. input.Keys.Select(_ => new float[width])];
        _scale = [.. input.Keys.Select(_ => new double[width])];
        Maxima = [.. input.Keys.Select(_ => new double[width])];
        for (int s = 0; s < sets; s++)
        {
            Measure(input.Keys[s], s, centred);
        }

        ScaleResting(input);
        var columns = new List<TensorColumn>();
        for (int members = 1; members < 1 << sets; members++)
        {
            for (int l = 0; l < width; l++)
            {
                double factor = 1, unit = 1, largest = 1;
                int resting = 0;
                for (int s = 0; s < sets; s++)
                {
                    bool moves = (members >> s & 1) != 0;
                    factor *= moves ? 1 : _shift[s][l];
                    unit *= moves ? _scale[s][l] : 1;
                    largest *= moves ? Maxima[s][l] : 1;
                    resting += moves && Maxima[s][l] == 0 ? 1 : 0;
                }

                if (factor != 0 && resting < 2)
                {
                    columns.Add(new TensorColumn(members, l, input.Scale * factor / unit, factor, largest * unit));
                }
            }
        }

        // There may be nothing that any derivative is not 0 for.
        Columns = columns.Count > 0 ? [.. columns] : [new TensorColumn(1, 0, 0, 0, 0)];
        BoundScores(input);
    }

    /// <summary>The columns, in groups of equal members.</summary>
    public TensorColumn[] Columns { get; }

    /// <summary>Largest |k_sl - c_sl| of every set and coordinate.</summary>
    public double[][] Maxima { get; }

    /// <summary>rho: all scores, but for a constant in each row, lie within +-HalfRange. NaN or infinity when input is not finite.</summary>
    public double HalfRange { get; private set; }

    /// <summary>Largest sum over columns of |u| max|x1| max|x2| … in a row; at least <see cref="HalfRange"/>.</summary>
    public double Box { get; private set; }

    /// <summary>u_col of a query, each rounded once.</summary>
    /// <param name="query">Q_i (d).</param>
    /// <param name="coordinates">(D, T).</param>
    /// <param name="token">Column to fill.</param>
    public void WriteQuery(ReadOnlySpan<float> query, Span<float> coordinates, int token)
    {
        int stride = coordinates.Length / Columns.Length;
        foreach (TensorColumn column in Columns)
        {
            coordinates[token] = (float)(query[column.Coordinate] * column.QueryFactor);
            token += stride;
        }
    }

    /// <summary>x_col of a key of one set: its moved and scaled coordinate, rounded once, or 1.</summary>
    /// <param name="set">The set.</param>
    /// <param name="key">K_j (d).</param>
    /// <param name="coordinates">(D, T).</param>
    /// <param name="token">Column to fill.</param>
    public void WriteKey(int set, ReadOnlySpan<float> key, Span<float> coordinates, int token)
    {
        int stride = coordinates.Length / Columns.Length;
        foreach (TensorColumn column in Columns)
        {
            coordinates[token] = column.Moves(set) ? Moved(set, key, column.Coordinate) : 1;
            token += stride;
        }
    }

    /// <summary>The scaling of a coordinate of one set, a power of two.</summary>
    public double KeyScale(int set, int coordinate) => _scale[set][coordinate];

    /// <summary>Sum over the columns of coordinate l, those in which a set moves when one is given, of |prod c| times max|k'| of all other
    /// sets in the column: by what a gradient with respect to q_l or k_l can be larger than that of the score.</summary>
    public double Reach(int coordinate, int set = -1)
    {
        double sum = 0;
        foreach (TensorColumn column in Columns)
        {
            if (column.Coordinate == coordinate && (set < 0 || column.Moves(set)))
            {
                double term = Math.Abs(column.Shift);
                for (int s = 0; s < Maxima.Length; s++)
                {
                    term *= column.Moves(s) && s != set ? Maxima[s][coordinate] : 1;
                }

                sum += term;
            }
        }

        return sum;
    }

    /// <summary>The power of two that brings a maximum into [1/2, 1); 1 for 0 and for what is not finite.</summary>
    public static double Normalizer(double maximum) =>
        maximum > 0 && double.IsFinite(maximum) ? Math.ScaleB(1, -Math.ILogB(maximum) - 1) : 1;

    private float Moved(int set, ReadOnlySpan<float> key, int l) => (float)((key[l] - _shift[set][l]) * _scale[set][l]);

    private void Measure(Matrix keys, int set, bool centred)
    {
        for (int l = 0; l < keys.Columns; l++)
        {
            float low = float.PositiveInfinity, high = float.NegativeInfinity;
            for (int j = 0; j < keys.Rows; j++)
            {
                low = Math.Min(low, keys.Row(j)[l]); // keeps a NaN
                high = Math.Max(high, keys.Row(j)[l]);
            }

            // A float32 shift makes k - c a single rounding, which keeps the order, so that the extremes give the maximum.
            float shift = centred ? (float)(((double)low + high) / 2) : 0;
            _shift[set][l] = shift;
            Maxima[set][l] = Math.Max(Math.Abs(high - shift), Math.Abs(low - shift));
            _scale[set][l] = Normalizer(Maxima[set][l]);
        }
    }

    /// <summary>The scaling of coordinates in which the keys of one set do not move.</summary>
    private void ScaleResting(in TensorInput input)
    {
        for (int l = 0; l < input.Queries.Columns; l++)
        {
            for (int s = 0; s < Maxima.Length; s++)
            {
                if (Maxima[s][l] == 0)
                {
                    double largest = 0;
                    for (int i = 0; i < input.Queries.Rows; i++)
                    {
                        largest = Math.Max(largest, Math.Abs((double)input.Scale * input.Queries.Row(i)[l]));
                    }

                    for (int t = 0; t < Maxima.Length; t++)
                    {
                        largest *= t == s ? 1 : Math.Max(Math.Abs(_shift[t][l]), 2 * Maxima[t][l]);
                    }

                    _scale[s][l] = 1 / Normalizer(largest);
                }
            }
        }
    }

    /// <summary>box and, for every group of columns, Cauchy-Schwarz with the longest key of one of its sets; the smaller counts.</summary>
    private void BoundScores(in TensorInput input)
    {
        int sets = input.Keys.Count;
        double[] longest = [.. Enumerable.Range(0, sets).Select(_ => 0.0)];
        for (int s = 0; s < sets; s++)
        {
            for (int j = 0; j < input.Keys[s].Rows; j++)
            {
                double squares = 0;
                ReadOnlySpan<float> key = input.Keys[s].Row(j);
                for (int l = 0; l < key.Length; l++)
                {
                    double value = Moved(s, key, l);
                    squares += value * value;
                }

                longest[s] = Math.Max(longest[s], Math.Sqrt(squares));
            }
        }

        for (int i = 0; i < input.Queries.Rows; i++)
        {
            ReadOnlySpan<float> query = input.Queries.Row(i);
            double rowBox = 0, rowRange = 0;
            for (int first = 0; first < Columns.Length;)
            {
                double box = 0, best = double.PositiveInfinity;
                int end = first;
                for (; end < Columns.Length && Columns[end].Members == Columns[first].Members; end++)
                {
                    // Both what is stored and what is exact stay below it: a rounding is far less than 1e-6.
                    box += Math.Abs(query[Columns[end].Coordinate] * Columns[end].QueryFactor) * Columns[end].Largest * (1 + 1e-6);
                }

                for (int s = 0; s < sets; s++)
                {
                    if (Columns[first].Moves(s))
                    {
                        double squares = 0;
                        for (int col = first; col < end; col++)
                        {
                            TensorColumn column = Columns[col];
                            double value = column.Largest == 0
                                ? 0
                                : query[column.Coordinate] * column.QueryFactor * column.Largest / (Maxima[s][column.Coordinate] * _scale[s][column.Coordinate]);
                            squares += value * value;
                        }

                        best = Math.Min(best, (Math.Sqrt(squares) * longest[s] * (1 + 1e-6)) + 1e-30);
                    }
                }

                rowBox += box;
                rowRange += Math.Min(box, best); // keeps a NaN
                first = end;
            }

            Box = Math.Max(Box, rowBox);
            HalfRange = Math.Max(HalfRange, rowRange);
        }
    }
}

/// <summary>A column of a multilinear score.</summary>
/// <param name="Members">Bit s is set where the keys of set s take part; the others stand as a constant.</param>
/// <param name="Coordinate">l.</param>
/// <param name="QueryFactor">u = q_l times this: the scale, the constants, and the inverse of the scaling of the keys.</param>
/// <param name="Shift">Product of the constants.</param>
/// <param name="Largest">Largest product of the scaled keys, at most 1.</param>
internal readonly record struct TensorColumn(int Members, int Coordinate, double QueryFactor, double Shift, double Largest)
{
    /// <summary>Whether the keys of a set take part.</summary>
    public bool Moves(int set) => (Members >> set & 1) != 0;
}
